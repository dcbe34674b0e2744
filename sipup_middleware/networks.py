"""Sets of networks that every request is held against: parsed once, matched by one lookup a prefix length.

::

    offices = Networks(("192.0.2.0/24", "2001:db8::/32"), option="RateLimit.allow")
    offices.contains("192.0.2.7")           # True
    offices.contains("::ffff:192.0.2.7")    # True: the same address, as a dual-stack socket writes it
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from sipup_middleware.errors import ConfigurationError

__all__ = ("Networks", "packed", "unpacked")

_MAPPED = bytes(10) + b"\xff\xff"
_MAPPED_BITS = 96
_IPV4_BYTES = 4

_Table = tuple[tuple[int, frozenset[int]], ...]
"""For each prefix length its mask, and the networks of that length."""


@dataclass(frozen=True, slots=True)
class Networks:
    """Networks as a user lists them; true if there are any. Raises `ConfigurationError` naming *option*."""

    networks: Sequence[str]
    """Each like ``10.0.0.0/8``, ``fd00::/8`` or a single address; an IPv4-mapped one is the IPv4 one."""

    option: str = field(default="Networks", kw_only=True, repr=False, compare=False)
    """What they were given for, e.g. ``RateLimit.allow``."""

    _four: _Table = field(init=False, repr=False, compare=False)
    _six: _Table = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.networks, (str, bytes)):
            raise ConfigurationError(f"{self.option} takes a sequence of networks, not one string")
        try:
            texts = tuple(self.networks)
        except TypeError:
            raise ConfigurationError(f"{self.option} takes a sequence, not {self.networks!r}") from None
        parsed = [_network(text, self.option) for text in texts]
        object.__setattr__(self, "networks", texts)
        four = collapse_addresses(each for each in parsed if isinstance(each, IPv4Network))
        six = collapse_addresses(each for each in parsed if isinstance(each, IPv6Network))
        object.__setattr__(self, "_four", _table(four))
        object.__setattr__(self, "_six", _table(six))

    def __bool__(self) -> bool:
        return bool(self.networks)

    @property
    def hold_everyone(self) -> bool:
        """Whether all of IPv4 or all of IPv6 is in them, be it in pieces."""
        return any(mask == 0 for mask, _ in self._four + self._six)

    def contains(self, host: str) -> bool:
        """Say whether the address *host* is in one of them; what is no address is in none."""
        address = packed(host)
        return address is not None and self.hold(address)

    def hold(self, address: bytes) -> bool:
        """Say the same of an address that `packed` returned."""
        value = int.from_bytes(address)
        for mask, networks in self._four if len(address) == _IPV4_BYTES else self._six:
            if value & mask in networks:
                return True
        return False


def packed(host: str) -> bytes | None:
    """Return the bytes of an address without its zone, an IPv4-mapped one as IPv4; None if it is none."""
    try:
        if ":" not in host:
            return inet_pton(AF_INET, host)
        address = inet_pton(AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        return None
    return address[12:] if address.startswith(_MAPPED) else address


def unpacked(address: bytes) -> str:
    """Return the one way in which we write an address."""
    return inet_ntop(AF_INET if len(address) == _IPV4_BYTES else AF_INET6, address)


def _network(text: object, option: str) -> IPv4Network | IPv6Network:
    # ip_network() would take a number for an address, and keep a zone that no packed address has.
    if not isinstance(text, str) or "%" in text:
        raise ConfigurationError(f"{option} takes networks like '10.0.0.0/8', not {text!r}")
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ConfigurationError(f"{option} takes networks like '10.0.0.0/8': {error}") from None
    if network.version == 6 and network.prefixlen >= _MAPPED_BITS:  # noqa: PLR2004 (IPv6 is a name)
        mapped = network.network_address.ipv4_mapped
        return network if mapped is None else IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _table(networks: Iterable[IPv4Network] | Iterable[IPv6Network]) -> _Table:
    by_mask: dict[int, set[int]] = {}
    for network in networks:
        by_mask.setdefault(int(network.netmask), set()).add(int(network.network_address))
    return tuple((mask, frozenset(members)) for mask, members in sorted(by_mask.items()))
