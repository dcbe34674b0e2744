"""Who may write, and who buys: whoever presents an API key."""

from __future__ import annotations

import os
import re
import secrets
from hashlib import sha256
from hmac import compare_digest, digest

from starlette.requests import Request

from demo_app.problems import Refused

__all__ = ("CHALLENGE", "DEFAULT_KEY", "ApiKey")

CHALLENGE = {"www-authenticate": 'ApiKey realm="sipup demo"'}
"""What a 401 says of how to be let in."""

DEFAULT_KEY = "demo-key"
_DEFAULT_PASSWORD = "demo"  # noqa: S105 (everybody's, and no secret)
_OPERATOR_BUYS_AS = 1
_BUYERS = re.compile(r"buyer-([1-9][0-9]{0,9})-[0-9a-f]{32}")


class ApiKey:
    """The operator's key and what the buyers' are made from: nothing of a buyer's key is stored.

    What is presented is compared in the same time whatever it is.
    """

    def __init__(self, key: str, *, secret: str, password: str = _DEFAULT_PASSWORD) -> None:
        self._digest = _hashed(key.encode())
        self._secret = secret.encode()
        self._password = _hashed(password.encode())
        self.shown = key if key == DEFAULT_KEY else "$DEMO_API_KEY"
        """How the home page writes it: the key itself only where it is everybody's."""

    @classmethod
    def from_environ(cls) -> ApiKey:
        """Read ``DEMO_API_KEY``, ``DEMO_SECRET`` and ``DEMO_PASSWORD``.

        Without a secret that all processes share, a buyer's key is good only in the process that made it.
        """
        return cls(
            os.environ.get("DEMO_API_KEY") or DEFAULT_KEY,
            secret=os.environ.get("DEMO_SECRET") or secrets.token_hex(),
            password=os.environ.get("DEMO_PASSWORD") or _DEFAULT_PASSWORD,
        )

    def check(self, request: Request) -> None:
        """Raise `Refused` unless the request presents the operator's key."""
        given = _given(request)
        if self._is_operators(given):
            return
        if self._buyer_of(given) is not None:
            raise Refused(403, {"X-API-Key": "must be the operator's: a buyer's does not open this"})
        raise _unknown()

    def buyer(self, request: Request) -> int:
        """Return who buys; the operator does so as buyer 1. Raises `Refused` for a key that is nobody's."""
        given = _given(request)
        if self._is_operators(given):
            return _OPERATOR_BUYS_AS
        buyer = self._buyer_of(given)
        if buyer is None:
            raise _unknown()
        return buyer

    def of_buyer(self, buyer: int) -> str:
        """Return the key of that buyer."""
        return f"buyer-{buyer}-{digest(self._secret, b'%d' % buyer, 'sha256').hex()[:32]}"

    def is_password(self, given: str) -> bool:
        """Say whether it is the password, which all buyers of the demo share."""
        return compare_digest(_hashed(given.encode()), self._password)

    def _is_operators(self, given: str) -> bool:
        return compare_digest(_hashed(given.encode("latin-1")), self._digest)

    def _buyer_of(self, given: str) -> int | None:
        if (found := _BUYERS.fullmatch(given)) is None:
            return None
        buyer = int(found[1])
        return buyer if compare_digest(given, self.of_buyer(buyer)) else None


def _given(request: Request) -> str:
    return request.headers.get("x-api-key", "")


def _hashed(text: bytes) -> bytes:
    return sha256(text).digest()


def _unknown() -> Refused:
    return Refused(
        401,
        {"X-API-Key": "must be the key that the demo printed when it started, or one from POST /login"},
        headers=CHALLENGE,
    )
