"""Who is asking: the names that limits count by.

A key is any ``f(scope) -> str | None``; None = its limit does not apply. `by_ip` and `by_user` ask the layer
around the request, which knows its proxies and how users are told apart.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import cast

from starlette.types import Scope

from sipup_middleware.asgi import header
from sipup_middleware.client_ip import UNKNOWN, ClientIP
from sipup_middleware.telemetry import Telemetry, WarningRaised

__all__ = ("ByHeader", "Identity", "Key", "by_header", "by_ip", "by_user", "credential")

_CREDENTIALS = frozenset({b"authorization", b"cookie", b"x-api-key"})

Key = Callable[[Scope], str | None]


def by_ip(scope: Scope) -> str | None:
    """Count by the client's address, an IPv6 one by its network: see `ClientIP`."""
    context = scope.get("sipup")
    return ClientIP()(scope) if context is None else cast("Identity", context.limits.identity).ip(scope)


def by_user(scope: Scope) -> str | None:
    """Count by what ``RateLimit(user=...)`` says; by default, by the credential that the request presents.

    The host verifies credentials further inside: a limit by user never stands in for one by address.
    """
    context = scope.get("sipup")
    return credential(scope) if context is None else cast("Identity", context.limits.identity).user(scope)


@dataclass(frozen=True, slots=True)
class ByHeader:
    """The key that `by_header` makes."""

    header: bytes

    @property
    def __name__(self) -> str:
        return "by_header"

    def __call__(self, scope: Scope) -> str | None:
        """Return the header's value; None where it is absent or empty."""
        value = header(scope, self.header)
        return value.decode("latin-1") if value else None


def by_header(name: str) -> ByHeader:
    """Count by the value of the request header *name*; a request without it is not counted."""
    return ByHeader(name.lower().encode("latin-1"))


class Identity:
    """How one layer tells clients apart."""

    def __init__(
        self, *, client_ip: ClientIP, user: Key | None, session_cookie: str | None, telemetry: Telemetry
    ) -> None:
        self._client_ip = client_ip
        self._direct = not client_ip.trusted
        cookie = None if session_cookie is None else session_cookie.encode() + b"="
        self._telemetry = telemetry
        self._secret = secrets.token_bytes(16)
        self._warned = False
        self.user: Key = user or (partial(credential, cookie=cookie) if cookie else credential)

    def ip(self, scope: Scope) -> str:
        """Return the address that a request is counted by."""
        client: tuple[str, int] | None = scope.get("client")
        if self._direct and client and ":" not in (host := client[0]) and host > "0":  # as in ClientIP
            return host
        name = self._client_ip(scope)
        if name == UNKNOWN and not self._warned:
            self._warned = True
            self._telemetry.emit(
                WarningRaised("ratelimit", "the server tells no client address: all share one limit")
            )
        return name

    def alias(self, name: str) -> str:
        """Return what a fact calls the client: a hash keyed anew in every process."""
        return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=self._secret).hexdigest()

    def bound(self, key: Key) -> Key:
        """Return *key* without its detour through the request's context."""
        if key is by_ip:
            return self.ip
        return self.user if key is by_user else key


def credential(scope: Scope, cookie: bytes | None = None) -> str | None:
    """Return a digest of the presented Authorization, else X-API-Key, else *cookie* (``b"name="``)."""
    api_key = cookies = b""
    for name, value in scope["headers"]:
        if name in _CREDENTIALS and value:
            if name == b"authorization":
                # The scheme is written in many ways, and is no part of who is asking.
                return _digest(b"a", value.partition(b" ")[2].strip() or value)
            if name == b"x-api-key":
                api_key = value
            else:
                cookies += value + b";"
    if api_key:
        return _digest(b"k", api_key)
    session = _cookie(cookies, cookie) if cookies and cookie else b""
    return _digest(b"s", session) if session else None


def _cookie(cookies: bytes, opening: bytes) -> bytes:
    for pair in cookies.split(b";"):
        if (stripped := pair.strip()).startswith(opening):
            return stripped[len(opening) :]
    return b""


def _digest(kind: bytes, value: bytes) -> str:
    return blake2b(kind + value, digest_size=16).hexdigest()
