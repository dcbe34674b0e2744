from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware import ClientIP
from sipup_middleware.ratelimit.balancer import EVIDENCE, MAX_PEERS, SETTLED, Balancer
from tests.asgi import http_scope

NAMES = ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto", "CF-Connecting-IP"]


def forwarded(peer: str, *, port: int = 50000, name: str = "X-Forwarded-For") -> dict[str, Any]:
    return {**http_scope(headers=[(name, "203.0.113.9")]), "client": (peer, port)}


def after(*scopes: dict[str, Any], times: int = EVIDENCE) -> Balancer:
    balancer = Balancer()
    for _, scope in product(range(times), scopes):
        balancer.sees(scope)
    return balancer


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("10.1.2.3", "10.1.2.3/32"),
        ("172.31.0.1", "172.31.0.1/32"),
        ("192.168.1.1", "192.168.1.1/32"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("100.64.0.1", "100.64.0.1/32"),
        ("169.254.1.1", "169.254.1.1/32"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::1", "::1/128"),
        ("fd12:3456::1", "fd12:3456::1/128"),
        ("fe80::1%eth0", "fe80::1/128"),
    ],
)
def test_a_machine_of_ours_that_forwards_is_a_balancer(peer: str, network: str) -> None:
    balancer = Balancer()

    seen = [balancer.sees(forwarded(peer)) for _ in range(EVIDENCE + 1)]

    assert seen == [False] * (EVIDENCE - 1) + [True, True]
    assert balancer.found
    assert balancer.line == f'ClientIP(trusted=["{network}"])'


def test_the_line_is_what_to_write() -> None:
    balancer = after(forwarded("10.1.2.3"), forwarded("fd00::7"))

    client_ip = eval(balancer.line, {"ClientIP": ClientIP})  # noqa: S307 (our own line, on purpose)

    assert client_ip == ClientIP(trusted=["10.1.2.3/32", "fd00::7/128"])
    assert client_ip(forwarded("10.1.2.3")) == "203.0.113.9"


@pytest.mark.parametrize("name", NAMES)
def test_any_forwarding_header_gives_it_away(name: str) -> None:
    assert after(forwarded("10.1.2.3", name=name)).found


def test_a_header_that_tells_no_client_is_said_to_be_too_little() -> None:
    line = after(forwarded("10.1.2.3", name="Via")).line

    assert line == 'ClientIP(trusted=["10.1.2.3/32"])  # and let it write X-Forwarded-For'


@pytest.mark.parametrize(
    "peer", ["203.0.113.9", "172.217.0.1", "192.0.2.1", "100.128.0.1", "2001:db8::1", "::ffff:8.8.8.8", "f"]
)
def test_no_client_on_the_internet_can_feign_one(peer: str) -> None:
    scopes = [forwarded(peer, name=name) for name in NAMES]

    balancer = after(*scopes, times=10 * EVIDENCE)

    assert not balancer.found
    assert balancer.line == ""


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.sampled_from(NAMES))
def test_no_address_of_the_internet_is_a_balancer(address: IPv4Address | IPv6Address, name: str) -> None:
    balancer = after(forwarded(str(address), name=name))

    exact = getattr(address, "ipv4_mapped", None) or address
    assert not (balancer.found and exact.is_global)


def test_past_the_balancer_everyone_is_seen_as_before() -> None:
    balancer = after(forwarded("10.1.2.3"))

    assert balancer.sees(http_scope(client="10.1.2.3"))
    assert not balancer.sees(forwarded("203.0.113.9"))
    assert not balancer.sees(forwarded("10.1.2.4"))
    assert not balancer.sees(http_scope(client="10.1.2.4"))


def test_health_checks_neither_hide_a_balancer_nor_make_one() -> None:
    forwards, checks = forwarded("10.1.2.3"), http_scope(client="10.1.2.3")

    assert after(checks, times=1000).found is False
    assert after(*[checks] * 1000, *[forwards] * EVIDENCE, times=1).found
    assert after(forwards, forwards, checks).found


def test_few_clients_with_a_proxy_of_their_own_among_many_without_are_none() -> None:
    translated = "172.17.0.1"

    assert not after(forwarded(translated), http_scope(client=translated), times=1000).found


def test_balancers_that_take_turns_are_all_named() -> None:
    balancer = after(*[forwarded(f"10.1.2.{number}") for number in range(4)], times=EVIDENCE - 1)

    balancer.sees(forwarded("10.1.2.0"))

    assert balancer.line == 'ClientIP(trusted=["10.1.2.0/30"])'


@pytest.mark.parametrize(
    "scope",
    [
        forwarded("10.1.2.3", port=0),
        http_scope(client="10.1.2.3", headers=[("X-Forwarded-For", "6.6.6.6, 10.1.2.3:50000")]),
        http_scope(client="fd00::1", headers=[("Forwarded", 'for="[fd00::1]:50000"')]),
    ],
)
def test_a_client_that_the_server_took_from_a_header_is_no_balancer(scope: Any) -> None:
    assert not after(scope, times=10 * EVIDENCE).found


@pytest.mark.parametrize("client", [None, "", "testclient", "/run/app.sock"])
def test_a_peer_without_an_address_is_no_balancer(client: str | None) -> None:
    assert not after(http_scope(client=client, headers=[("X-Forwarded-For", "203.0.113.9")])).found


def test_what_is_remembered_is_bounded() -> None:
    strangers = [forwarded(f"10.{number // 256}.{number % 256}.1") for number in range(1000)]

    balancer = after(*strangers, *[forwarded("127.0.0.1")] * EVIDENCE, times=1)

    assert balancer.line == 'ClientIP(trusted=["127.0.0.1/32"])'
    assert len(balancer._scores) <= MAX_PEERS


def test_more_balancers_than_an_app_can_have_are_clients() -> None:
    balancer = Balancer()
    for number in range(2 * MAX_PEERS):
        for _ in range(2 * EVIDENCE):
            balancer.sees(forwarded(f"10.0.{number}.1"))

    assert sum(balancer.sees(forwarded(f"10.0.{number}.1")) for number in range(2 * MAX_PEERS)) == MAX_PEERS


def test_on_the_internet_it_stops_looking() -> None:
    balancer = after(http_scope(client="203.0.113.9"), times=SETTLED)

    assert not any(balancer.sees(forwarded("10.1.2.3")) for _ in range(10 * EVIDENCE))


def test_once_found_it_does_not_stop_looking() -> None:
    balancer = after(forwarded("10.1.2.3"))
    for _ in range(2 * SETTLED):
        balancer.sees(http_scope(client="203.0.113.9"))

    assert balancer.sees(forwarded("10.1.2.3"))


HEADER_SETS = st.lists(
    st.tuples(
        st.sampled_from([name.lower().encode() for name in NAMES]) | st.binary(max_size=20), st.binary()
    ),
    max_size=5,
)


@given(
    st.lists(HEADER_SETS, min_size=10, max_size=10),
    st.sampled_from(["10.1.2.3", "::1", "fdzz", "192.168", "203.0.113.9", "10.1.2.3%0"]) | st.text(),
    st.integers(0, 65535) | st.none(),
)
def test_no_headers_break_it(sets: list[list[tuple[bytes, bytes]]], peer: str, port: int | None) -> None:
    scopes = [{**http_scope(), "headers": headers, "client": (peer, port)} for headers in sets]

    balancer = after(*scopes, times=2)

    assert balancer.found is bool(balancer.line)
