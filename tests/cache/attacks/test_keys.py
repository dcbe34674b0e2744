"""Two requests that an app may answer differently never meet in one entry (CWE-349; CWE-694)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from sipup_middleware.cache.request import Request
from sipup_middleware.cache.stored import Variants
from sipup_middleware.cache.vary import variant
from tests.asgi import get, http_scope
from tests.cache.apps import FRESH, Counting, Scripted, cached
from tests.cache.attacks.victims import Believing, ask, told, where

PART = st.binary(max_size=4) | st.sampled_from([b"0", b"/", b"4 1 1 ", b"by 1 a", b"vary:"])
ASKED = st.tuples(st.sampled_from(["http", "https"]), PART.map(bytes.lower), PART, PART, st.none() | PART)


def key(scheme: str, host: bytes, path: bytes, query: bytes, part: bytes | None) -> bytes:
    scope = http_scope(scheme=scheme, raw_path=path, query_string=query)
    scope["headers"] = [(b"host", b"h" + host)]
    return Request(scope, None, None if part is None else lambda _: part).key


@given(ASKED, ASKED)
def test_no_two_of_scheme_host_path_query_and_tenant_share_a_key(
    one: tuple[Any, ...], other: tuple[Any, ...]
) -> None:
    assert (key(*one) == key(*other)) == (one == other)


@given(ASKED, ASKED, PART)
def test_no_variant_lies_under_the_key_of_a_url(
    one: tuple[Any, ...], other: tuple[Any, ...], accept: bytes
) -> None:
    headers = [(b"accept", accept)]
    below = Variants((b"accept",), (), 0.0).key(key(*one), headers)
    scheme, host, path, query, part = one
    forged = key(scheme, host, path, query + variant((b"accept",), headers), part)

    assert below not in {key(*other), forged}
    assert not below.startswith(b"value:"), "nor under that of a value kept by hand"


async def test_a_url_that_ends_as_the_key_of_a_variant_reaches_no_variant() -> None:
    """The digest of a variant is told by public means: whoever appends it to a query must gain nothing."""
    headers = [("accept", "text/html")]
    forged = variant((b"accept",), [(b"accept", b"text/html")])
    app = Believing(where, headers=[FRESH, ("vary", "accept")])
    wrapped = cached(app)
    await get(wrapped, headers=headers)

    attacker = await get(wrapped, query_string=forged)
    victim = await get(wrapped, headers=headers)

    assert attacker.body == b"/?" + forged
    assert victim.body == b"/?"


async def test_a_tenant_gets_nothing_of_another_whatever_its_name_holds() -> None:
    """CWE-488: data of one session in another."""
    app = Believing(told("x-tenant"))
    wrapped = cached(app, vary_key=told("x-tenant"))
    names = ["a", "b", "a\x00", "1 a", "a" * 99, ""]

    replies = [await get(wrapped, headers=[("x-tenant", name)]) for name in names * 2]

    assert [reply.body.decode() for reply in replies] == names * 2
    assert app.calls == len(names)


@pytest.mark.parametrize(
    "hosts",
    [
        [b"testserver", b"evil.example"],
        [b"evil.example", b"testserver"],
        [b"", b"testserver"],
        [b"testserver", b""],
        [b"testserver", b"testserver"],
        [b""],
        [],
    ],
)
async def test_a_host_that_is_told_twice_or_not_at_all_is_neither_stored_nor_answered(
    hosts: list[bytes],
) -> None:
    """Kettle, Practical HTTP Host header attacks, 2013; RFC 9112, section 3.2."""
    app = Counting()
    wrapped = cached(app)

    attacker = await ask(wrapped, *hosts)
    victim = await ask(wrapped, b"testserver")

    assert attacker.headers["cache-status"] == "sipup; fwd=bypass; detail=host"
    assert (victim.body, app.calls) == (b"2", 2)


@pytest.mark.parametrize(
    "host",
    [
        b"testserver:8443",
        b"testserver:80",
        b"testserver.",
        b"user@testserver",
        b"testserver@evil.example",
        b"testserver/evil",
        b"testserver,evil",
        b" testserver",
        b"http://testserver",
        b"\x00testserver",
    ],
)
async def test_another_spelling_of_a_host_has_its_own_entry(host: bytes) -> None:
    """Kettle, Web Cache Entanglement, 2020: an unkeyed port sends everybody to a closed one."""
    app = Believing(told("host"))
    wrapped = cached(app)

    await ask(wrapped, host)
    victim = await ask(wrapped, b"testserver")

    assert victim.body == b"testserver"


@pytest.mark.parametrize("host", [b"TESTSERVER", b"TestServer"])
async def test_an_app_to_which_the_case_of_a_host_matters_fails_for_nobody_else(host: bytes) -> None:
    """Youstin, Cache Poisoning at Scale, 2021: an origin that answers 404 to an upper-case Host."""

    def missing(scope: Scope) -> int:
        return 200 if told("host")(scope) == b"testserver" else 404

    app = Believing(told("host"), status=missing)
    wrapped = cached(app)

    await ask(wrapped, host)
    victim = await ask(wrapped, b"testserver")
    again = await ask(wrapped, host)

    assert (victim.status, victim.body) == (200, b"testserver")
    assert (again.status, app.calls) == (200, 2), (
        "what is stored answers in any case: RFC 9110, section 4.2.3"
    )


async def test_a_target_in_absolute_form_is_another_url() -> None:
    """RFC 9112, section 3.2.2: servers disagree on whether it or Host names the origin."""
    app = Counting()
    wrapped = cached(app)

    await get(wrapped, raw_path=b"http://evil.example/")
    victim = await get(wrapped)

    assert victim.body == b"2"


@pytest.mark.parametrize("host", [b"evil.example", b"evilshop.example", b"shop.example.evil.example"])
async def test_a_host_that_is_not_ours_fills_nothing(host: bytes) -> None:
    """CWE-770: each made-up Host would be a copy of the site."""
    app = Counting()
    wrapped = cached(app, allowed_hosts=("shop.example", "*.cdn.example"))

    replies = [await ask(wrapped, host) for _ in range(2)]

    assert [reply.body for reply in replies] == [b"1", b"2"]


async def test_a_head_leaves_no_empty_answer_for_those_who_get() -> None:
    """RFC 9110, section 9.3.2; HEAD and GET share an entry, which only GET may fill."""
    app = Scripted()
    wrapped = cached(app)

    await get(wrapped, method="HEAD")
    victim = await get(wrapped)

    assert (victim.body, app.calls) == (b"hello", 2)
