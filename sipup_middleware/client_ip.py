"""Who is at the other end, as far as it can be trusted.

The peer of the connection is certain; what a forwarding header says is as good as the proxy that wrote it. So
the headers are read from the right, each address vouched for by the one after it, and only while those are
trusted (RFC 7239, section 8.1)::

    client = ClientIP(trusted=("10.0.0.0/8",))
    client(scope)            # "203.0.113.9", or "2001:db8:7:a00::/56" for any address of that network
    client.address(scope)    # "203.0.113.9", or "2001:db8:7:aa01::1": what a list of networks is asked about

The server may have done so before (uvicorn does by default, for a proxy on the same host) and left the header
in place. The peer is then the client it found: not trusted, so that nothing is read a second time. If what
it found is trusted, it knew fewer proxies than you name here, or was told to believe anybody; the header is
read again, from the right end as ever, and leads to the same client or to one that it missed. Only proxies
that the server trusts and that are not named here count as clients then: name them in both, or here alone.

A connection over a unix socket has no address, so no peer to trust: all its requests are `UNKNOWN`, unless
the server unwraps the header itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from starlette.types import Scope

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.forwarded import forwarded_nodes, listed_nodes, node_address
from sipup_middleware.networks import Networks, packed, unpacked

__all__ = ("UNKNOWN", "ClientIP")

UNKNOWN = "unknown"
"""The one client that all requests without an address are."""

_READ_LAST = 4096
"""Bytes of a forwarding header that are read, from its end: more than any chain of proxies writes."""

_NODES = {"forwarded": forwarded_nodes, "x-forwarded-for": listed_nodes}


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

    _networks: Networks = field(init=False, repr=False, compare=False)
    _mask: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.headers, str):
            raise ConfigurationError("ClientIP.headers takes a sequence of strings, not one string")
        if not 1 <= self.ipv6_prefix <= 128:  # noqa: PLR2004 (the bits of an address)
            raise ConfigurationError(f"ClientIP.ipv6_prefix must be 1 to 128, not {self.ipv6_prefix}")
        headers = tuple(str(name).lower() for name in self.headers)
        if unknown := set(headers) - set(_NODES):
            raise ConfigurationError(f"ClientIP.headers knows Forwarded and X-Forwarded-For, not {unknown}")
        networks = Networks(self.trusted, option="ClientIP.trusted")
        object.__setattr__(self, "trusted", networks.networks)
        object.__setattr__(self, "headers", headers)
        object.__setattr__(self, "_networks", networks)
        object.__setattr__(self, "_mask", (1 << 128) - (1 << (128 - self.ipv6_prefix)))

    @property
    def trusts_everyone(self) -> bool:
        """Whether the networks are so wide that any client's headers are believed."""
        return self._networks.hold_everyone

    def __call__(self, scope: Scope) -> str:
        """Return the client's address, or its network for IPv6; `UNKNOWN` where the server tells none."""
        client = scope.get("client")
        if not client or not client[0]:
            return UNKNOWN
        host: str = client[0]
        if not self.trusted and ":" not in host and host > "0":  # paths and abstract sockets sort lower
            return host
        peer = packed(host) or node_address(host)
        if peer is None:
            return _nameless(host) or UNKNOWN
        return self._name(self._client(peer, scope) if self.trusted else peer)

    def address(self, scope: Scope) -> str | None:
        """Return the client's exact address, for `Networks`; None where the server tells none.

        Where headers disagree it is the proxy's, which a client can bring about: see `addresses`.
        """
        found = self.addresses(scope)
        return found[0] if found else None

    def addresses(self, scope: Scope) -> tuple[str, ...]:
        """Return every address that may be the client's: one, or none, or more where headers disagree.

        A client may send the header that its proxy does not write, so as to make both useless. So deny if any
        of these is denied, and allow only if there are some and all are allowed. The first is the client that
        is counted.
        """
        client = scope.get("client")
        if not client or not client[0]:
            return ()
        host: str = client[0]
        peer = packed(host) or node_address(host)
        if peer is None:
            name = _nameless(host)
            return (name,) if name else ()
        told = self._told(peer, scope)
        found = told if len(told) == 1 else {peer: None} | told
        return tuple(unpacked(address) for address in found)

    def _client(self, peer: bytes, scope: Scope) -> bytes:
        told = self._told(peer, scope)
        return next(iter(told)) if len(told) == 1 else peer

    def _told(self, peer: bytes, scope: Scope) -> dict[bytes, None]:
        """Return whom each header tells of, following a trusted *peer*; in the order of the headers."""
        told: dict[bytes, None] = {}
        if self._networks.hold(peer):
            for name in self.headers:
                key = name.encode()
                lines = [value for each, value in scope["headers"] if each == key]
                if any(lines):
                    nodes = chain.from_iterable(_NODES[name](line) for line in _end(lines))
                    told[self._walk(peer, nodes)] = None
        return told or {peer: None}

    def _walk(self, peer: bytes, nodes: Iterable[str]) -> bytes:
        """Follow *nodes*, the last hop first, to the first address that is nobody's proxy."""
        for node in nodes:
            address = node_address(node)
            if address is None:
                break
            peer = address
            if not self._networks.hold(peer):
                break
        return peer

    def _name(self, address: bytes) -> str:
        if len(address) == 4:  # noqa: PLR2004 (bytes of an IPv4 address)
            return unpacked(address)
        network = int.from_bytes(address) & self._mask
        return f"{unpacked(network.to_bytes(16))}/{self.ipv6_prefix}"


def _nameless(host: str) -> str | None:
    """Return what a server calls a client without an address; None for a unix socket's path."""
    return None if host < "0" or host.startswith("unix:") else host


def _end(lines: Sequence[bytes]) -> Iterator[str]:
    """Yield the last `_READ_LAST` bytes of a header whose *lines* are one list, the last line first."""
    left = _READ_LAST
    for line in reversed(lines):
        if len(line) > left:
            # Half an address may look like a whole one: "?" makes whatever was cut unreadable.
            yield "?" + line[len(line) - left :].decode("latin-1")
            return
        yield line.decode("latin-1")
        left -= len(line)
