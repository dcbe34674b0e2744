"""Is a webhook from the marketplace? As https://www.standardwebhooks.com has it, with HMAC-SHA256."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac

from demo_app.problems import Refused

__all__ = ("Secret",)

_PREFIX = "whsec_"
_TOLERANCE = 300
"""Seconds that the sender's clock and ours may be apart, and that a copied request stays good."""

_ID = re.compile(r"[!-~]{1,255}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Secret:
    """What the marketplace signs with."""

    key: bytes = field(repr=False)

    @classmethod
    def read(cls, text: str) -> Secret:
        """Return the secret as it is handed around: ``whsec_`` and base64. Raises `ValueError`."""
        encoded = text.removeprefix(_PREFIX)
        try:
            key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if encoded == text or not key:
            raise ValueError(f"must be {_PREFIX} and base64")
        return cls(key)

    def check(self, headers: Mapping[str, str], body: bytes, *, now: float) -> str:
        """Return the webhook's id, the same at each try. Raises `Refused` unless we may trust *body*."""
        name, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not _ID.fullmatch(name):
            raise Refused(400, {"webhook-id": "must be given, in at most 255 characters"})
        if not _TIMESTAMP.fullmatch(timestamp) or abs(now - int(timestamp)) > _TOLERANCE:
            raise Refused(
                400, {"webhook-timestamp": "must be in seconds since 1970, and within five minutes"}
            )
        signed = hmac(self.key, f"{name}.{timestamp}.".encode() + body, sha256)
        expected = b"v1," + b64encode(signed)
        given = headers.get("webhook-signature", "").encode("latin-1", "replace").split(b" ")
        if not any([compare_digest(expected, each) for each in given]):  # noqa: C419 (each in the same time)
            raise Refused(400, {"webhook-signature": "none in it is ours for this id, timestamp and body"})
        return name
