"""Who sent a webhook: Standard Webhooks 1.0.0, symmetric (https://www.standardwebhooks.com)."""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import sha256
from hmac import digest as hmac

__all__ = ("key_of", "sign")

_PREFIX = "whsec_"


def key_of(name: str, secret: str) -> bytes:
    """Return the key in *secret*. Raises `ValueError` that says *name*, and does not show the secret."""
    encoded = secret.removeprefix(_PREFIX)
    try:
        key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError(f"{name}: must be {_PREFIX} and base64")
    return key


def sign(secret: str, *, id: str, timestamp: int, body: bytes) -> str:  # noqa: A002 (the standard's word)
    """Return the ``webhook-signature`` of *body*; *id* and *timestamp* are what its other two headers say."""
    signed = hmac(key_of("secret", secret), f"{id}.{timestamp}.".encode() + body, sha256)
    return f"v1,{b64encode(signed).decode()}"
