"""Where a webhook may go: to public addresses, and to nothing inside, whatever its URL calls it.

The addresses are looked at after the name is resolved, and one of these is connected to: the resolver is not
asked again, since it could then say another.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs.running import Discard, Retry

__all__ = ("Guard", "Resolve", "Target", "is_public", "networks", "resolve")

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host; raises `OSError`."""

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>[/?][!\"$-~]*)?(?:\#[!-~]*)?",
    re.ASCII | re.IGNORECASE,
)
"""Our own grammar, and a narrow one: what two parsers read differently is no URL here."""

_PORTS = {"http": 80, "https": 443}
_LARGEST_PORT = 65535
_LONGEST_HOST, _LONGEST_URL = 253, 2048

_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_HOSTS_OWN = IPv4Address("168.63.129.16")
"""Azure answers its machines there, as others do at 169.254.169.254; it only looks public."""

_REFUSED = "url: must lead to a public address"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was taken apart."""

    scheme: str
    host: str
    """In lower case, without brackets."""

    port: int
    path: str
    """With the query."""

    @classmethod
    def read(cls, url: object) -> Target:
        """Return what *url* means. Raises `ValueError`, which does not show it: a path may be a secret."""
        found = _URL.fullmatch(url) if isinstance(url, str) and len(url) <= _LONGEST_URL else None
        if found is None or len(found["host"]) > _LONGEST_HOST:
            raise ValueError(
                "url: must be http:// or https:// and a host, in ASCII, without a user or password, "
                f"of at most {_LONGEST_URL} characters"
            )
        scheme, path = found["scheme"].lower(), found["path"] or "/"
        port = int(found["port"] or _PORTS[scheme])
        if not 1 <= port <= _LARGEST_PORT:
            raise ValueError(f"url: must have a port from 1 to {_LARGEST_PORT}")
        host = found["host"].lower().strip("[]")
        if ":" in host and _literal(host) is None:
            raise ValueError("url: must have an IPv6 address in its brackets")
        return cls(scheme, host, port, path if path.startswith("/") else f"/{path}")

    @property
    def authority(self) -> str:
        """What the header ``Host`` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def literal(self) -> _Address | None:
        """The address, where the URL gives one in place of a name."""
        return _literal(self.host)


async def resolve(host: str, port: int) -> list[str]:
    """Return what the system's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


def networks(name: str, given: Sequence[str]) -> tuple[_Network, ...]:
    """Return the networks in *given*. Raises `ConfigurationError` that says *name*."""
    if isinstance(given, str):
        raise ConfigurationError(f"{name} must be a sequence of networks, not one string")
    try:
        return tuple(ip_network(each) for each in given)
    except ValueError as error:
        raise ConfigurationError(f"{name} must hold networks like 10.1.0.0/16: {error}") from None


def is_public(address: _Address) -> bool:
    """Whether *address*, or the IPv4 address inside it, is one that the whole internet reaches."""
    judged = _embedded(address)
    if isinstance(judged, IPv6Address) and judged not in _GLOBAL_UNICAST:
        return False
    return judged.is_global and not judged.is_multicast and judged != _HOSTS_OWN


@dataclass(frozen=True, slots=True)
class Guard:
    """Refuses what is not public, except what lies in *allow*."""

    allow: tuple[_Network, ...] = ()
    resolve: Resolve = resolve

    def check(self, target: Target) -> None:
        """Raise `ValueError` if the URL itself gives an address that is refused."""
        if target.literal is not None and not self._admits(target.literal):
            raise ValueError(_REFUSED)

    async def admit(self, target: Target) -> list[str]:
        """Return the addresses to connect to. Raises `Discard` if one is refused, `Retry` without any."""
        try:
            found = [str(target.literal)] if target.literal else await self.resolve(target.host, target.port)
        except OSError:
            found = []
        if not found:
            raise Retry("url: its host cannot be resolved")
        if not all(self._admits(ip_address(each)) for each in found):
            raise Discard(_REFUSED)
        return list(dict.fromkeys(found))

    def _admits(self, address: _Address) -> bool:
        return is_public(address) or any(_embedded(address) in each for each in self.allow)


def _literal(host: str) -> _Address | None:
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f000001: the resolver would take them
    except OSError:
        return None


def _embedded(address: _Address) -> _Address:
    """Return whom a packet to *address* really reaches: mapped, NAT64 (RFC 6052), 6to4 (RFC 3056)."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
