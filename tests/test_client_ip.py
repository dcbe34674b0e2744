"""RFC 7239 and X-Forwarded-For, as told by proxies, clients and liars."""

from __future__ import annotations

import pickle
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware import ClientIP, ConfigurationError
from tests.asgi import http_scope

PROXY = "10.0.0.1"
BEHIND = ClientIP(trusted=("10.0.0.0/8", "fd00::/8"))


def xff(*lines: str) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", line) for line in lines]


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:7:aa01::1", "2001:db8:7:aa00::/56"),
        ("2001:db8:7:aaff:1:2:3:4", "2001:db8:7:aa00::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("testclient", "testclient"),
        ("not:an:address", "not:an:address"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_peer_is_the_client(peer: str | None, name: str) -> None:
    assert ClientIP()(http_scope(client=peer, headers=xff("203.0.113.9"))) == name


def test_as_many_bits_of_an_ipv6_address_count_as_asked() -> None:
    scope = http_scope(client="2001:db8:7:aa01::1")

    assert ClientIP(ipv6_prefix=128)(scope) == "2001:db8:7:aa01::1/128"
    assert ClientIP(ipv6_prefix=32)(scope) == "2001:db8::/32"


def test_a_stranger_is_not_believed_whatever_it_forwards() -> None:
    random = Random(7)  # noqa: S311 (any numbers will do)
    scopes = [
        http_scope(client="198.51.100.4", headers=xff(str(random.getrandbits(32)))) for _ in range(10_000)
    ]

    assert {BEHIND(scope) for scope in scopes} == {"198.51.100.4"}


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (["6.6.6.6", "203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (["203.0.113.9", "10.1.2.3"], "203.0.113.9"),
        (["10.7.7.7, 10.1.2.3"], "10.7.7.7"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8:1:2::3]:4711"], "2001:db8:1::/56"),
        (["2001:db8:1:2::3%eth0"], "2001:db8:1::/56"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, unknown, 10.1.2.3"], "10.1.2.3"),
        (["203.0.113.9, "], PROXY),
        (["gar\x00bage"], PROXY),
        (["999.1.1.1"], PROXY),
        (["\xff\xfe"], PROXY),
        ([""], PROXY),
        ([], PROXY),
    ],
)
def test_x_forwarded_for_is_walked_from_the_right(lines: list[str], name: str) -> None:
    assert BEHIND(http_scope(client=PROXY, headers=xff(*lines))) == name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=203.0.113.9;proto=https;by=10.0.0.9", "203.0.113.9"),
        ("for=6.6.6.6, for=203.0.113.9;proto=https, for=10.1.2.3", "203.0.113.9"),
        ('for="203.0.113.9:4711"', "203.0.113.9"),
        ('proto=http;for="[2001:db8:1:2::3]:4711"', "2001:db8:1::/56"),
        ('for=203.0.113.9;host="a,b;for=6.6.6.6"', "203.0.113.9"),
        ("for=203.0.113.9, for=unknown", PROXY),
        ("for=203.0.113.9, for=_hidden", PROXY),
        ("for=203.0.113.9, proto=https", PROXY),
        ('for="203.0.113.9', "203.0.113.9"),
        ('for="6.6.6.6, for=203.0.113.9', PROXY),
        (";;,,==", PROXY),
    ],
)
def test_forwarded_is_read_as_rfc_7239_writes_it(value: str, name: str) -> None:
    assert BEHIND(http_scope(client=PROXY, headers=[("Forwarded", value)])) == name


def test_headers_that_disagree_are_both_disbelieved() -> None:
    headers = [("Forwarded", "for=6.6.6.6"), *xff("203.0.113.9")]

    assert BEHIND(http_scope(client=PROXY, headers=headers)) == PROXY


def test_only_the_headers_named_are_read() -> None:
    client_ip = ClientIP(trusted=("10.0.0.0/8",), headers=("X-Forwarded-For",))
    headers = [("Forwarded", "for=6.6.6.6"), *xff("203.0.113.9")]

    assert client_ip(http_scope(client=PROXY, headers=headers)) == "203.0.113.9"


@pytest.mark.parametrize("client", ["203.0.113.9", "10.9.9.9"])
def test_what_a_server_has_unwrapped_is_not_unwrapped_again(client: str) -> None:
    scope = http_scope(headers=xff(f"{client}"))
    scope["client"] = (client, 0)

    assert BEHIND(scope) == client


@given(st.binary(max_size=200), st.sampled_from([b"forwarded", b"x-forwarded-for"]))
def test_no_header_breaks_it(value: bytes, name: bytes) -> None:
    scope = {**http_scope(client=PROXY), "headers": [(name, value)]}

    assert BEHIND(scope)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"trusted": "10.0.0.0/8"}, "trusted takes a sequence"),
        ({"trusted": ["10.0.0.1/8"]}, "trusted takes networks"),
        ({"trusted": ["balancer"]}, "trusted takes networks"),
        ({"ipv6_prefix": 0}, "ipv6_prefix"),
        ({"headers": ["x-real-ip"]}, "headers"),
    ],
)
def test_nonsense_is_refused_at_once(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        ClientIP(**options)  # type: ignore[arg-type]  # (wrong on purpose)


def test_it_is_a_value() -> None:
    assert ClientIP(trusted=["10.0.0.0/8", "fd00::/8"]) == BEHIND
    assert pickle.loads(pickle.dumps(BEHIND)) == BEHIND
    assert repr(ClientIP(trusted=["10.0.0.0/8"])).startswith("ClientIP(trusted=('10.0.0.0/8',)")
