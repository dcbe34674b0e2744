"""Who may see more than a status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hmac import compare_digest
from ipaddress import IPv6Address, ip_address
from typing import Literal

from starlette.types import Scope

from sipup_middleware.asgi import header

__all__ = ("Access", "is_local")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rule or the token: either opens the details."""

    rule: Literal["local"] | Callable[[Scope], bool]
    token: str | None = field(repr=False)

    def allows(self, scope: Scope) -> bool:
        """Say whether this request may see details; of a function only ``True`` counts, nothing truthy."""
        by_rule = is_local(scope) if self.rule == "local" else self.rule(scope) is True
        return by_rule or self._presents_token(scope)

    def _presents_token(self, scope: Scope) -> bool:
        if self.token is None:
            return False
        scheme, _, given = (header(scope, b"authorization") or b"").partition(b" ")
        return compare_digest(given.strip(), self.token.encode()) and scheme.lower() == b"bearer"


def is_local(scope: Scope) -> bool:
    """Say whether the peer is this machine and speaks for itself: no proxy has left its mark."""
    client = scope.get("client")
    if not client or not _is_loopback(client[0]):
        return False
    return not any(map(_is_forwarding, scope["headers"]))


def _is_forwarding(pair: tuple[bytes, bytes]) -> bool:
    name = pair[0]
    return name in {b"forwarded", b"via", b"x-real-ip"} or name.startswith(b"x-forwarded-")


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback
