"""Who may write: whoever presents the API key."""

from __future__ import annotations

import os
from hashlib import sha256
from hmac import compare_digest

from starlette.requests import Request

from demo_app.problems import Refused

__all__ = ("DEFAULT_KEY", "ApiKey")

DEFAULT_KEY = "demo-key"


class ApiKey:
    """The key that opens writing; its digest is compared, in the same time whatever is presented."""

    def __init__(self, key: str) -> None:
        self._digest = sha256(key.encode()).digest()
        self.shown = key if key == DEFAULT_KEY else "$DEMO_API_KEY"
        """How the home page writes it: the key itself only where it is everybody's."""

    @classmethod
    def from_environ(cls) -> ApiKey:
        """Read ``DEMO_API_KEY``."""
        return cls(os.environ.get("DEMO_API_KEY") or DEFAULT_KEY)

    def check(self, request: Request) -> None:
        """Raise `Refused` unless the request presents the key."""
        given = request.headers.get("x-api-key", "").encode("latin-1")
        if not compare_digest(sha256(given).digest(), self._digest):
            raise Refused(
                401,
                {"X-API-Key": "must be the API key that the demo printed when it started"},
                headers={"www-authenticate": 'ApiKey realm="sipup demo"'},
            )
