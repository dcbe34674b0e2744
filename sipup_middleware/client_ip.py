"""Who is at the other end, as far as it can be trusted.

The peer of the connection is certain; what a forwarding header says is as good as the proxy that wrote it. So
the headers are read from the right, each address vouched for by the one after it, and only while those are
trusted (RFC 7239, section 8.1)::

    client = ClientIP(trusted=("10.0.0.0/8",))
    client(scope)        # "203.0.113.9", or "2001:db8:7:a00::/56" for any address of that network
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from starlette.types import Scope

from sipup_middleware.errors import ConfigurationError

__all__ = ("UNKNOWN", "ClientIP")

UNKNOWN = "unknown"
"""The one client that all requests without an address are."""

_MAPPED = bytes(10) + b"\xff\xff"
_READ_LAST = 4096
"""Bytes of a forwarding header that are read, from its end: more than any chain of proxies writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientIP:
    """Tells a request's client by its address; call it with the scope.

    Name only the header that your proxy writes: one that it passes on unread is the client's to invent. Where
    several are named and present, and they disagree, the peer is the client.
    """

    trusted: Sequence[str] = ()
    """Networks of your own proxies, e.g. ``("10.0.0.0/8",)``; empty = no header is believed."""

    headers: Sequence[str] = ("forwarded", "x-forwarded-for")
    """Where a trusted proxy says whom it speaks for."""

    ipv6_prefix: int = 56
    """Addresses that share so many leading bits are one client: a household has a whole /56."""

    _networks: tuple[tuple[int, int, int], ...] = field(init=False, repr=False, compare=False)
    _mask: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("trusted", "headers"):
            if isinstance(getattr(self, name), str):
                raise ConfigurationError(f"ClientIP.{name} takes a sequence of strings, not one string")
        if not 1 <= self.ipv6_prefix <= 128:  # noqa: PLR2004 (the bits of an address)
            raise ConfigurationError(f"ClientIP.ipv6_prefix must be 1 to 128, not {self.ipv6_prefix}")
        if unknown := {name.lower() for name in self.headers} - {"forwarded", "x-forwarded-for"}:
            raise ConfigurationError(f"ClientIP.headers knows Forwarded and X-Forwarded-For, not {unknown}")
        object.__setattr__(self, "trusted", tuple(self.trusted))
        object.__setattr__(self, "headers", tuple(name.lower() for name in self.headers))
        object.__setattr__(self, "_networks", tuple(_network(text) for text in self.trusted))
        object.__setattr__(self, "_mask", (1 << 128) - (1 << (128 - self.ipv6_prefix)))

    @property
    def trusts_everyone(self) -> bool:
        """Whether a network is so wide that any client's headers are believed."""
        return any(mask == 0 for _, mask, _ in self._networks)

    def __call__(self, scope: Scope) -> str:
        """Return the client's address, or its network for IPv6; `UNKNOWN` where the server tells none."""
        client = scope.get("client")
        if not client or not client[0]:
            return UNKNOWN
        host: str = client[0]
        if not self._networks:
            return self._name(_packed(host), host) if ":" in host else host
        peer = _packed(host)
        if peer is None or not self._trusts(peer):
            return self._name(peer, host)
        return self._name(self._behind(peer, scope), host)

    def _behind(self, peer: bytes, scope: Scope) -> bytes:
        """Follow what the trusted *peer* forwarded to the first address that is nobody's proxy."""
        told = {
            self._walk(peer, _forwarded(value) if name == "forwarded" else value.split(","))
            for name in self.headers
            if (value := _joined(scope, name.encode()))
        }
        return told.pop() if len(told) == 1 else peer

    def _walk(self, peer: bytes, nodes: list[str]) -> bytes:
        for node in reversed(nodes):
            address = _packed(_without_port(node.strip()))
            if address is None:
                return peer
            peer = address
            if not self._trusts(peer):
                break
        return peer

    def _trusts(self, address: bytes) -> bool:
        size, value = len(address), int.from_bytes(address)
        return any(size == length and value & mask == network for length, mask, network in self._networks)

    def _name(self, address: bytes | None, host: str) -> str:
        if address is None:
            return host
        if len(address) == 4:  # noqa: PLR2004 (bytes of an IPv4 address)
            return inet_ntop(AF_INET, address)
        network = int.from_bytes(address) & self._mask
        return f"{inet_ntop(AF_INET6, network.to_bytes(16))}/{self.ipv6_prefix}"


def _network(text: str) -> tuple[int, int, int]:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ConfigurationError(f"ClientIP.trusted takes networks like '10.0.0.0/8': {error}") from None
    return network.max_prefixlen // 8, int(network.netmask), int(network.network_address)


def _packed(text: str) -> bytes | None:
    """Return the bytes of an address without its zone, an IPv4-mapped one as IPv4; None if it is none."""
    text = text.partition("%")[0]
    try:
        if ":" not in text:
            return inet_pton(AF_INET, text)
        address = inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        return None
    return address[12:] if address.startswith(_MAPPED) else address


def _without_port(node: str) -> str:
    if node.startswith("["):
        return node[1:].partition("]")[0]
    return node.partition(":")[0] if node.count(":") == 1 else node


def _joined(scope: Scope, name: bytes) -> str:
    """Return the end of a header whose lines are one list, in their order (RFC 9110, section 5.3)."""
    lines = [value for key, value in scope["headers"] if key == name]
    return b",".join(lines)[-_READ_LAST:].decode("latin-1")


def _forwarded(value: str) -> list[str]:
    """Return the ``for`` node of each element; "" for an element without one (RFC 7239, section 4)."""
    return [next(_for_nodes(element), "") for element in _split(value, ",")]


def _for_nodes(element: str) -> Iterator[str]:
    for pair in _split(element, ";"):
        name, _, node = pair.partition("=")
        if name.strip().lower() == "for":
            yield node.strip().strip('"')


def _split(text: str, separator: str) -> list[str]:
    """Split *text* where *separator* stands outside double quotes; no address needs an escaped quote."""
    parts: list[str] = [""]
    for index, piece in enumerate(text.split('"')):
        quoted = index % 2
        first, *rest = [f'"{piece}"'] if quoted else piece.split(separator)
        parts[-1] += first
        parts.extend(rest)
    return parts
