"""Whether a balancer stands in front, though nobody said so.

Where `ClientIP.trusted` is empty and a balancer forwards the requests, all of them seem to come from it, and
a limit by address is one for the whole site. Its requests give it away, see `Balancer`; what it says of its
clients is still not believed. That is for the user to allow, who is told what to write::

    balancer = Balancer()
    if balancer.sees(scope):      # this request came through one: do not refuse it for its address
        print(balancer.line)      # ClientIP(trusted=["10.1.2.3/32"])
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from starlette.types import Scope

from sipup_middleware.networks import Networks, packed

__all__ = ("EVIDENCE", "MAX_PEERS", "SETTLED", "Balancer")

EVIDENCE = 10
"""Requests that a peer must have forwarded beyond those that it sent of its own, such as health checks.

Well below the 100 a minute of the default limit, which several workers may count together.
"""

MAX_PEERS = 64
"""Balancers that one app may have. As many more are watched; those that forward least are forgotten."""

SETTLED = 10_000
"""Requests straight from the internet, none forwarded among them, after which there is no balancer."""

_NEAR = Networks(
    (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)
"""Where only your own machines can be: private, loopback, shared (RFC 6598) and link-local addresses."""

_OPENINGS = frozenset(
    {"10.", "172", "192", "127", "100", "169", "::1", "::f", "fe8", "fe9", "fea", "feb"}
    | {f"{two}{digit}" for two in ("fc", "fd") for digit in "0123456789abcdef"}
)
"""How those addresses begin, as every socket writes them: a lookup that spares most others the parsing."""

_NOBODY: tuple[str, int] = ("", 0)

_READABLE = frozenset({b"forwarded", b"x-forwarded-for"})
_FORWARDING = _READABLE | {
    b"cf-connecting-ip",
    b"true-client-ip",
    b"via",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-envoy-external-address",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-real-ip",
}


class Balancer:
    """Watches the peers of a wrapped app, and remembers those that forward the requests of others.

    A peer is a balancer if its address is not routed on the internet and it has sent `EVIDENCE` more requests
    with a forwarding header than without one. Both are needed: any client can write headers, but none on the
    internet has such an address. Each peer is judged for itself, so that a client that reaches the app past
    the balancer is limited as before. Where the server has put the forwarded address in the place of the
    peer's, that is no peer, and proves nothing.

    What remains: clients of your own network, and those behind a translation of addresses that shows them all
    as one private address, can feign a balancer. `ClientIP.trusted`, whatever it names, ends the guessing.
    """

    __slots__ = ("_afar", "_found", "_readable", "_scores", "_settled")

    def __init__(self) -> None:
        self._found: set[str] = set()
        self._scores: dict[str, int] = {}
        self._readable = False
        self._afar = 0
        self._settled = False

    @property
    def found(self) -> bool:
        """Whether there is one."""
        return bool(self._found)

    @property
    def line(self) -> str:
        """What to write in the configuration; "" while there is none.

        It names the peers, not their network. Where balancers come and go, write the network.
        """
        if not self._found:
            return ""
        nearly = {host for host, score in self._scores.items() if 2 * score >= EVIDENCE}
        line = f"ClientIP(trusted={json.dumps(_collapsed(self._found | nearly))})"
        return line if self._readable else f"{line}  # and let it write X-Forwarded-For"

    def sees(self, scope: Scope) -> bool:
        """Say whether a request came through a balancer; almost free once that is settled."""
        if self._settled:
            return False
        host, port = scope.get("client") or _NOBODY
        if host in self._found:
            return True
        if not host or host[:3] not in _OPENINGS:
            return self._from_afar()
        return self._judge(host, port, scope)

    def _from_afar(self) -> bool:
        self._afar += 1
        self._settled = self._afar >= SETTLED and not self._found
        return False

    def _judge(self, host: str, port: int | None, scope: Scope) -> bool:
        told = [pair for pair in scope["headers"] if pair[0] in _FORWARDING]
        if not told:
            self._doubt(host)
            return False
        if not _NEAR.contains(host) or _was_rewritten(port, told):
            return False
        self._afar = 0
        self._readable = self._readable or any(name in _READABLE for name, _ in told)
        return self._believe(host)

    def _believe(self, host: str) -> bool:
        score = self._scores.pop(host, 0) + 1
        if score >= EVIDENCE and len(self._found) < MAX_PEERS:
            self._found.add(host)
            return True
        if len(self._scores) >= MAX_PEERS:
            del self._scores[min(self._scores, key=self._scores.__getitem__)]
        self._scores[host] = min(score, EVIDENCE)
        return False

    def _doubt(self, host: str) -> None:
        if score := self._scores.pop(host, 0):
            self._scores[host] = score - 1


def _was_rewritten(port: int | None, told: Iterable[tuple[bytes, bytes]]) -> bool:
    """Say whether the server took the client from a header: it has that one's port, or none."""
    return not port or any(f":{port}".encode() in value for _, value in told)


def _collapsed(hosts: set[str]) -> list[str]:
    addresses = sorted(address for host in hosts if (address := packed(host)) is not None)
    four = collapse_addresses(IPv4Network(each) for each in addresses if len(each) == 4)  # noqa: PLR2004 (bytes)
    six = collapse_addresses(IPv6Network(each) for each in addresses if len(each) == 16)  # noqa: PLR2004 (bytes)
    return [str(network) for network in (*four, *six)]
