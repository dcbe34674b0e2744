"""RFC 7239 and X-Forwarded-For, as told by proxies, clients and liars."""

from __future__ import annotations

import pickle
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from sipup_middleware import ClientIP, ConfigurationError
from tests.asgi import http_scope

PROXY = "10.0.0.1"
BEHIND = ClientIP(trusted=("10.0.0.0/8", "fd00::/8"))


def xff(*lines: str) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", line) for line in lines]


def forwarded(*lines: str) -> list[tuple[str, str]]:
    return [("Forwarded", line) for line in lines]


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:7:aa01::1", "2001:db8:7:aa00::/56"),
        ("2001:db8:7:aaff:1:2:3:4", "2001:db8:7:aa00::/56"),
        ("2001:DB8:7:AA01:0::1", "2001:db8:7:aa00::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8:7:aa01::1]:4711", "2001:db8:7:aa00::/56"),
        ("testclient", "testclient"),
        ("not:an:address", "not:an:address"),
        ("/run/app.sock", "unknown"),
        ("\x00abstract", "unknown"),
        ("unix:/run/app.sock", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
@pytest.mark.parametrize("client_ip", [ClientIP(), BEHIND], ids=["direct", "behind"])
def test_the_peer_is_the_client(client_ip: ClientIP, peer: str | None, name: str) -> None:
    assert client_ip(http_scope(client=peer, headers=xff("203.0.113.9"))) == name


def test_a_scope_that_tells_no_client_is_the_unknown_one() -> None:
    scope = http_scope()
    del scope["client"]

    assert ClientIP()(scope) == "unknown"
    assert ClientIP().address(scope) is None


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
        (["6.6.6.6\t,\t203.0.113.9\t"], "203.0.113.9"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["203.0.113.9, 10.1.2.3:4711:1"], PROXY),
        (["203.0.113.9, [10.1.2.3"], PROXY),
        (["203.0.113.9, 10.1.2.3%eth0"], PROXY),
        (["203.0.113.9, fd00::1%eth0"], "203.0.113.9"),
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
        (r'for="\2\03.0.113.9"', "203.0.113.9"),
        ('for="[2001:db8:1:2::3%25eth0]:_port"', "2001:db8:1::/56"),
        ('for="::ffff:203.0.113.9"', "203.0.113.9"),
        ("for=203.0.113.9:4711", "203.0.113.9"),
        ("for=[2001:db8:1:2::3]:4711", "2001:db8:1::/56"),
        ("\tFOR=203.0.113.9 ; proto=https;", "203.0.113.9"),
        (r'for=203.0.113.9;x="\\\",for=6.6.6.6,";y="\\"', "203.0.113.9"),
        ("for=203.0.113.9, for=UNKNOWN", PROXY),
        ('for=203.0.113.9, for="_hidden:4711"', PROXY),
        ("for=203.0.113.9, for=10.1.2.3:70000000", PROXY),
        ("for=203.0.113.9, ", PROXY),
        ("for=6.6.6.6;for=203.0.113.9", PROXY),
        ("for=203.0.113.9, for = 10.1.2.3", PROXY),
        ("for=203.0.113.9, for=10.1.2.3;host=a b", PROXY),
        ("for=203.0.113.9, for=", PROXY),
        ('for=203.0.113.9, for=""', PROXY),
        ('for="203.0.113.9', PROXY),
        ("203.0.113.9", PROXY),
        (";;,,==", PROXY),
    ],
)
def test_forwarded_is_read_as_rfc_7239_writes_it(value: str, name: str) -> None:
    assert BEHIND(http_scope(client=PROXY, headers=forwarded(value))) == name


@pytest.mark.parametrize("opening", ['for="', 'for="\\', '"', '\\"', 'for="6.6.6.6', 'x="\\\\\\', '""" ,"'])
@pytest.mark.parametrize("honest", ["for=203.0.113.9", 'for="203.0.113.9:4711";by="[fd00::1]"'])
def test_a_quote_left_open_does_not_swallow_what_the_proxy_adds(opening: str, honest: str) -> None:
    appended = http_scope(client=PROXY, headers=forwarded(f"{opening}, {honest}"))
    added = http_scope(client=PROXY, headers=forwarded(opening, honest))

    assert BEHIND(appended) == BEHIND(added) == "203.0.113.9"


@pytest.mark.parametrize("line", [xff, forwarded], ids=["x-forwarded-for", "forwarded"])
def test_an_address_cut_in_half_is_not_taken_for_a_whole_one(line: Any) -> None:
    hops = ("for=10.1.2.3, " if line is forwarded else "10.1.2.3, ") * 1000
    values = [f"{'for=' * (line is forwarded)}203.0.113.9, {hops}"[:-2] + " " * pad for pad in range(20)]

    names = {BEHIND(http_scope(client=PROXY, headers=line(value))) for value in values}

    assert names == {"10.1.2.3"}


@pytest.mark.parametrize(
    "piece",
    [
        "10.0.0.1,",
        "for=10.0.0.1,",
        '"\\',
        '"',
        "\\",
        'for="\\"',
        ";",
        "a=b;",
        "[",
        ":",
        ",",
        " ",
        '","',
        "for=",
    ],
)
def test_a_header_of_64_kib_is_no_more_work_than_its_end(piece: str) -> None:
    whole = (piece * (1 << 16))[: 1 << 16]
    end = whole[-4096:]

    for line in (xff, forwarded):
        scopes = [http_scope(client=PROXY, headers=line(text)) for text in (whole, f"?{end}")]
        assert BEHIND(scopes[0]) == BEHIND(scopes[1])


def test_headers_that_disagree_are_both_disbelieved() -> None:
    scope = http_scope(client=PROXY, headers=[*forwarded("for=6.6.6.6"), *xff("203.0.113.9")])

    assert BEHIND(scope) == BEHIND.address(scope) == PROXY


def test_whoever_makes_headers_disagree_is_still_among_those_it_may_be() -> None:
    scope = http_scope(client=PROXY, headers=[*forwarded("for=6.6.6.6"), *xff("203.0.113.9")])
    garbled = http_scope(client=PROXY, headers=[*forwarded("="), *xff("203.0.113.9")])

    assert BEHIND.addresses(scope) == (PROXY, "6.6.6.6", "203.0.113.9")
    assert BEHIND.addresses(garbled) == (PROXY, "203.0.113.9")


def test_headers_that_agree_or_are_empty_are_one_answer() -> None:
    agreeing = http_scope(client=PROXY, headers=[*forwarded("for=203.0.113.9"), *xff("203.0.113.9")])
    empty = http_scope(client=PROXY, headers=[*forwarded(""), *xff("203.0.113.9")])

    assert BEHIND.addresses(agreeing) == BEHIND.addresses(empty) == ("203.0.113.9",)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8:7::1%eth0", "2001:db8:7::1"),
        ("testclient", "testclient"),
        ("unix:/run/app.sock", None),
        ("/run/app.sock", None),
        ("", None),
        (None, None),
    ],
)
def test_an_address_is_exact(peer: str | None, address: str | None) -> None:
    forwarding = http_scope(client=PROXY, headers=xff(peer or ""))

    assert ClientIP().address(http_scope(client=peer)) == address
    assert BEHIND.address(forwarding) == (address if address and address != "testclient" else PROXY)


def test_only_the_headers_named_are_read() -> None:
    client_ip = ClientIP(trusted=("10.0.0.0/8",), headers=("X-Forwarded-For",))
    headers = [*forwarded("for=6.6.6.6"), *xff("203.0.113.9")]

    assert client_ip(http_scope(client=PROXY, headers=headers)) == "203.0.113.9"


async def unwrapped(scope: Scope, *, trusted: list[str] | str) -> str:
    """Return the client after uvicorn has put the forwarded address in the place of the peer's."""
    names: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        names.append(BEHIND(scope))

    middleware: Any = ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type]  # (stricter types of the same)
    await middleware(scope, None, None)
    return names[0]


@pytest.mark.parametrize(
    ("value", "trusted"),
    [
        ("6.6.6.6, 203.0.113.9", ["10.0.0.0/8"]),
        ("6.6.6.6, 203.0.113.9:4711", ["10.0.0.0/8"]),
        ("10.6.6.6, 203.0.113.9, 10.1.2.3", ["10.0.0.0/8"]),
        ("6.6.6.6, 203.0.113.9, 10.1.2.3", [PROXY]),  # it stops at 10.1.2.3, which only we trust
        ("10.6.6.6, 203.0.113.9", "*"),  # it believes what the client wrote
    ],
)
async def test_what_uvicorn_has_unwrapped_is_not_unwrapped_again(value: str, trusted: Any) -> None:
    scope = http_scope(client=PROXY, headers=xff(value))

    assert await unwrapped(scope, trusted=trusted) == "203.0.113.9"
    assert scope["client"][0] != PROXY


async def test_a_client_among_the_trusted_stays_itself_when_unwrapped_twice() -> None:
    scope = http_scope(client=PROXY, headers=xff("10.9.9.9, 10.1.2.3"))

    assert await unwrapped(scope, trusted=["10.0.0.0/8"]) == "10.9.9.9"


async def test_proxies_that_only_the_server_trusts_count_as_clients() -> None:
    scope = http_scope(client="192.0.2.60", headers=xff("203.0.113.9, 10.0.0.2, 192.0.2.50"))

    assert await unwrapped(scope, trusted=["192.0.2.0/24"]) == "192.0.2.50"


LINES = st.tuples(st.sampled_from([b"forwarded", b"x-forwarded-for", b"host"]), st.binary(max_size=60))
PIECES = [
    "for=",
    '"',
    "\\",
    ",",
    ";",
    "=",
    " ",
    "[",
    "]",
    ":",
    "%",
    "unknown",
    "_x",
    "10.0.0.1",
    "6.6.6.6",
    "::1",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.characters(max_codepoint=255), max_size=30).map("".join)


@given(st.lists(st.lists(LINES, max_size=4), min_size=10, max_size=10))
def test_no_headers_break_it(sets: list[list[tuple[bytes, bytes]]]) -> None:
    for headers in sets:
        scope = {**http_scope(client=PROXY), "headers": headers}

        assert BEHIND(scope)
        assert BEHIND.address(scope)


@given(st.lists(TEXTS, max_size=3), st.sampled_from([xff, forwarded]))
def test_nothing_that_looks_like_a_header_breaks_it(texts: list[str], lines: Any) -> None:
    scope = http_scope(client=PROXY, headers=lines(*texts))

    assert ip_address(BEHIND.address(scope) or "").version in {4, 6}


@given(st.lists(TEXTS, min_size=1), st.sampled_from(["198.51.100.4", "::ffff:198.51.100.4"]))
def test_whatever_a_stranger_forwards_it_is_one_client(texts: list[str], peer: str) -> None:
    scopes = [
        http_scope(client=peer, headers=lines(*texts[start:]))
        for start in range(len(texts))
        for lines in (xff, forwarded)
    ]

    assert {BEHIND(scope) for scope in scopes} == {"198.51.100.4"}


PROXIES = st.integers(1, 0xFFFFFF).map(lambda low: str(ip_address(0x0A000000 + low))) | st.integers(
    1, 2**64 - 1
).map(lambda low: str(ip_address((0xFD << 120) + low)))
PORTS = st.sampled_from(["", ":4711", ":_port"])
PARAMETERS = st.sampled_from(
    ["", ";proto=https", ';host="a\\",\\\\;b"', ";by=_inner", ';BY="[fd00::1]"', "; x=y"]
)


@st.composite
def arrivals(draw: Any, *, syntax: str) -> tuple[str, Scope]:
    """What reaches the app from a client, which lies, through honest proxies, each naming whom it heard."""
    client = draw(st.ip_addresses().map(str))
    assume(not BEHIND._networks.contains(client))
    lines = draw(st.lists(TEXTS, max_size=2))
    peer = client
    for proxy in draw(st.lists(PROXIES, min_size=1, max_size=6)):
        said = draw(elements(peer)) if syntax == "forwarded" else draw(entries(peer))
        if lines and draw(st.booleans()):
            lines[-1] = f"{lines[-1]}, {said}"
        else:
            lines.append(said)
        peer = proxy
    return client, http_scope(client=peer, headers=[(syntax, line) for line in lines])


@st.composite
def entries(draw: Any, address: str) -> str:
    if ":" in address:
        return str(draw(st.sampled_from([address, f"[{address}]", f"[{address}]:4711", address.upper()])))
    return str(draw(st.sampled_from([address, f"{address}:4711", f"::ffff:{address}"])))


@st.composite
def elements(draw: Any, address: str) -> str:
    node = (f"[{address}]" if ":" in address else address) + draw(PORTS)
    if ":" in node or draw(st.booleans()):
        escaped = draw(st.sampled_from([node, node.replace("1", "\\1")]))
        node = f'"{escaped}"'
    name = draw(st.sampled_from(["for", "For", "FOR"]))
    return f"{name}={node}{draw(PARAMETERS)}"


@pytest.mark.parametrize("syntax", ["x-forwarded-for", "forwarded"])
@given(data=st.data())
def test_honest_proxies_always_lead_to_the_client(syntax: str, data: st.DataObject) -> None:
    client, scope = data.draw(arrivals(syntax=syntax))

    address = BEHIND.address(scope)

    assert address is not None
    assert ip_address(address) == (getattr(ip_address(client), "ipv4_mapped", None) or ip_address(client))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"trusted": "10.0.0.0/8"}, "trusted takes a sequence"),
        ({"trusted": ["10.0.0.1/8"]}, "trusted takes networks"),
        ({"trusted": ["balancer"]}, "trusted takes networks"),
        ({"trusted": [10]}, "ClientIP.trusted takes networks"),
        ({"ipv6_prefix": 0}, "ipv6_prefix"),
        ({"headers": ["x-real-ip"]}, "headers"),
        ({"headers": "forwarded"}, "headers takes a sequence"),
    ],
)
def test_nonsense_is_refused_at_once(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        ClientIP(**options)  # type: ignore[arg-type]  # (wrong on purpose)


def test_it_is_a_value() -> None:
    assert ClientIP(trusted=["10.0.0.0/8", "fd00::/8"]) == BEHIND
    assert pickle.loads(pickle.dumps(BEHIND)) == BEHIND
    assert repr(ClientIP(trusted=["10.0.0.0/8"])).startswith("ClientIP(trusted=('10.0.0.0/8',)")
