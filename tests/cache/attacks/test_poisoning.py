"""What a request says beside its key never decides what others get: web cache poisoning (CWE-349)."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from sipup_middleware.asgi import Problem
from sipup_middleware.cache import Rule
from sipup_middleware.cache.policy import House
from tests.asgi import get, request
from tests.cache.apps import FRESH, Clock, Counting, Origin, Scripted, cached, timed
from tests.cache.attacks.victims import Believing, ask, told, where

FORWARDED = (
    "x-forwarded-host",
    "x-forwarded-scheme",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-host",
    "forwarded",
)
REWRITING = (
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Override-URL",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
)


@pytest.mark.parametrize("name", FORWARDED)
async def test_an_app_that_believes_a_header_poisons_nobody_where_it_says_vary(name: str) -> None:
    """Kettle, Practical Web Cache Poisoning, 2018."""
    wrapped = cached(Believing(told(name), headers=[FRESH, ("vary", name)]))

    await get(wrapped, headers=[(name, "evil.example")])
    victim = await get(wrapped)

    assert victim.body == b"nothing"


@pytest.mark.parametrize("name", FORWARDED)
async def test_an_app_that_believes_a_header_poisons_nobody_where_vary_key_reads_it(name: str) -> None:
    """Kettle, Practical Web Cache Poisoning, 2018."""
    wrapped = cached(Believing(told(name)), vary_key=told(name))

    await get(wrapped, headers=[(name, "evil.example")])
    victim = await get(wrapped)

    assert victim.body == b"nothing"


@pytest.mark.parametrize("name", FORWARDED)
async def test_the_cache_itself_believes_none_of_them(name: str) -> None:
    """An answer made for the true host and scheme serves, and nobody chooses an entry by such a header."""
    app = Believing(told("host"))
    wrapped = cached(app)

    replies = [await get(wrapped, headers=[(name, value)]) for value in ("evil.example", "https", "1")]

    assert [reply.body for reply in replies] == [b"testserver"] * 3
    assert app.calls == 1


@pytest.mark.parametrize("name", [*REWRITING, *(name.replace("-", "_") for name in REWRITING)])
async def test_what_makes_an_app_serve_another_url_or_method_keeps_the_store_out(name: str) -> None:
    """CVE-2018-14773 (Symfony), CVE-2019-19326 (Silverstripe); with an underscore, CVE-2015-0219 (Django)."""
    wrapped = cached(Believing(told(name.lower())))

    await get(wrapped, headers=[(name, "/admin")])
    victim = await get(wrapped)

    assert victim.body == b"nothing"


@pytest.mark.parametrize("status", [200, 404, 405, 501])
async def test_hmo_an_overridden_method_is_refused_to_nobody_else(status: int) -> None:
    """Nguyen, Lo Iacono, Federrath, Your Cache Has Fallen, CCS 2019: HTTP Method Override."""

    def refusing(scope: Scope) -> int:
        return status if told("x-http-method-override")(scope) == b"DELETE" else 200

    wrapped = cached(Believing(where, status=refusing))

    await get(wrapped, headers=[("X-HTTP-Method-Override", "DELETE")])

    assert (await get(wrapped)).headers["cache-status"] == "sipup; fwd=uri-miss; stored"


@pytest.mark.parametrize("status", [400, 404, 413, 431, 500])
@pytest.mark.parametrize(
    "oversize", [[("x-oversized", "a" * 9000)], [(f"x-oversized-{n}", "a" * 99) for n in range(99)]]
)
async def test_hho_a_header_that_is_too_long_fails_for_its_sender_alone(
    status: int, oversize: list[tuple[str, str]]
) -> None:
    """Nguyen, Lo Iacono, Federrath, Your Cache Has Fallen, CCS 2019: HTTP Header Oversize."""

    def choking(scope: Scope) -> int:
        return status if len(scope["headers"]) > 1 else 200

    wrapped = cached(Believing(where, status=choking))

    attacker = await get(wrapped, headers=oversize)
    victim = await get(wrapped)

    assert (attacker.status, victim.status) == (status, 200)


@pytest.mark.parametrize("letter", ["\n", "\r", "\a", "\b", "\x00", "\x7f"])
async def test_hmc_a_header_with_a_control_character_fails_for_its_sender_alone(letter: str) -> None:
    """Nguyen, Lo Iacono, Federrath, Your Cache Has Fallen, CCS 2019: HTTP Meta Character."""

    def choking(scope: Scope) -> int:
        return 400 if len(scope["headers"]) > 1 else 200

    wrapped = cached(Believing(where, status=choking))

    await get(wrapped, headers=[("x-meta", f"a{letter}b")])

    assert (await get(wrapped)).status == 200


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_wrong_credentials_are_refused_to_their_owner_alone(status: int) -> None:
    """Youstin, Cache Poisoning at Scale, 2021: an Authorization that the origin does not know."""

    def refusing(scope: Scope) -> int:
        return status if told("authorization")(scope) != b"nothing" else 200

    wrapped = cached(Believing(where, headers=[("cache-control", "public, max-age=60")], status=refusing))

    await get(wrapped, headers=[("Authorization", "Bearer wrong")])

    assert (await get(wrapped)).status == 200


@pytest.mark.parametrize("status", [428, 429, 431, 511])
async def test_what_rfc_6585_forbids_to_store_is_not(status: int) -> None:
    """RFC 6585, sections 3 to 6: a captive portal or a limit that others would meet for a minute."""
    app = Scripted(headers=[("cache-control", "public, s-maxage=60")], status=status)
    wrapped = cached(app, Rule("/*", ttl=60))

    await get(wrapped)
    await get(wrapped)

    assert app.calls == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 414, 416, 429, 500, 502, 503, 504])
async def test_an_error_that_declares_nothing_is_not_stored_by_a_rule(status: int) -> None:
    """CWE-524; RFC 9110, section 15.1 would let 404, 405, 414 and 501 be stored: an outage that stays."""
    app = Scripted(headers=(), status=status)
    wrapped = cached(app, Rule("/*", ttl=60), heuristic=0.1)

    await get(wrapped)
    await get(wrapped)

    assert app.calls == 2


@pytest.mark.parametrize("status", [429, 503, 504])
async def test_25_a_refusal_of_ours_is_not_stored_whatever_a_handler_says(status: int) -> None:
    """CWE-524: an overload that outlives itself in the cache."""
    calls, problem = 0, Problem(status=status, title="Not now", headers=((b"retry-after", b"1"),))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        scope["sipup"].response.ttl(60)
        await problem.send(scope, send, instance=scope["sipup"].request_id)

    wrapped = cached(app, Rule("/*", ttl=60))

    for _ in range(2):
        await get(wrapped)

    assert calls == 2


@pytest.mark.parametrize(
    "query", ["utm_content=evil", "page=1&callback=evil", "page=1&page%5b%5d=evil", "%70age2=evil"]
)
async def test_a_parameter_that_a_rule_does_not_list_reaches_nobody_else(query: str) -> None:
    """Kettle, Web Cache Entanglement, 2020: unkeyed parameters."""
    wrapped = cached(Believing(where, headers=()), Rule("/", ttl=60, query=("page",)))

    attacker = await get(wrapped, query=query)
    victims = [await get(wrapped, query=each) for each in ("page=1", "")]

    assert "stored" not in attacker.headers["cache-status"]
    assert [victim.body for victim in victims] == [b"/?page=1", b"/?"]


@pytest.mark.parametrize(
    "query",
    [
        "page=1;page=evil",
        "page=1;callback=evil",
        "page=1&page=evil",
        "page=1&&page=evil",
        "page=1%26page=evil",
    ],
)
async def test_a_parameter_that_hides_in_another_has_its_own_entry(query: str) -> None:
    """CVE-2021-23336 (Python's ``parse_qsl`` and ``;``): parameter cloaking; the whole query is the key."""
    wrapped = cached(Believing(where, headers=()), Rule("/", ttl=60, query=("page",)))

    await get(wrapped, query=query)
    victim = await get(wrapped, query="page=1")

    assert victim.body == b"/?page=1"


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_body_of_a_fat_get_poisons_nobody(method: str, *, announced: bool) -> None:
    """Kettle, Web Cache Entanglement, 2020: fat GET; HTTP/2 needs no header that announces the body."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        said = (await receive()).get("body") or b"nothing"
        headers = [FRESH, ("etag", '"a"'), ("x-said", said.decode())]
        await Scripted(headers=headers, chunks=[b"hello"]).respond(send)

    clock = Clock()
    wrapped = timed(app, clock)
    if method == "HEAD":  # it may renew what is stored and stale
        await get(wrapped)
        clock.now += 61

    length = [("Content-Length", "4")] if announced else []
    await request(wrapped, method=method, body=b"evil", headers=length)
    victim = await get(wrapped)

    assert victim.headers["x-said"] == "nothing"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ([("range", "bytes=0-0")], (206, [FRESH, ("content-range", "bytes 0-0/5")], b"h")),
        ([("range", "bytes=0-0")], (200, [FRESH, ("content-range", "bytes 0-0/5")], b"h")),
        ([("range", "bytes=9-"), ("if-range", '"a"')], (416, [FRESH], b"")),
        ([("range", "bytes=x")], (400, [FRESH], b"")),
        ([("if-none-match", '"a"')], (304, [FRESH, ("etag", '"a"')], b"")),
        ([], (206, [FRESH], b"h")),
        ([], (304, [FRESH], b"")),
    ],
)
async def test_a_part_an_absence_or_a_refusal_of_one_never_stands_for_the_whole(
    asked: list[tuple[str, str]], answer: tuple[int, list[tuple[str, str]], bytes]
) -> None:
    """CVE-2017-7529 (nginx), Web Cache Entanglement: Range and conditions decide for their sender alone."""
    wrapped = cached(Origin([answer, (200, [FRESH], b"hello")]))

    await get(wrapped, headers=asked)
    victim = await get(wrapped)

    assert (victim.status, victim.body) == (200, b"hello")


async def test_overlapping_ranges_cost_the_app_and_the_cache_nothing() -> None:
    """CVE-2011-3192 (Apache Killer), RangeAmp (DSN 2020): thousands of ranges are answered with the whole."""
    app = Scripted(chunks=[b"x" * 1000])
    wrapped = cached(app)
    await get(wrapped)

    reply = await get(wrapped, headers=[("range", "bytes=" + ",".join(["0-"] * 10_000))])

    assert (reply.status, len(reply.body), app.calls) == (200, 1000, 1)


@pytest.mark.parametrize("cookie", ["lang=evil", "a=1; lang=evil"])
async def test_a_cookie_reaches_nobody_who_did_not_send_it(cookie: str) -> None:
    """Kettle, Practical Web Cache Poisoning, 2018: a page made by an unkeyed cookie, under a rule or Vary."""
    for headers, rules in (((), [Rule("/", ttl=60)]), ((FRESH, ("vary", "Cookie")), [])):
        wrapped = cached(Believing(told("cookie"), headers=headers), *rules)

        await get(wrapped, headers=[("Cookie", cookie)])

        assert (await get(wrapped)).body == b"nothing"


@pytest.mark.parametrize("cookie", ["theme=dark,", "theme=dark, ,", ",theme=dark"])
async def test_no_cookie_passes_for_another_as_a_list_would(cookie: str) -> None:
    """RFC 9111, section 4.1 lets lists be normalised; a cookie is none, and apps read its commas."""
    wrapped = cached(Believing(told("cookie"), headers=[FRESH, ("vary", "Cookie")]))

    await get(wrapped, headers=[("Cookie", cookie)])
    victim = await get(wrapped, headers=[("Cookie", "theme=dark")])

    assert victim.body == b"theme=dark"


async def test_a_redirect_to_where_a_client_says_is_followed_by_nobody_else() -> None:
    """CWE-601, by the Host that the Location is made of."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        location = f"http://{told('host')(scope).decode()}/login"
        await Scripted(headers=[FRESH, ("location", location)], status=302).respond(send)

    wrapped = cached(app)

    await ask(wrapped, b"evil.example")
    victim = await get(wrapped)

    assert victim.headers["location"] == "http://testserver/login"


async def test_an_encoding_reaches_nobody_who_does_not_read_it() -> None:
    """RFC 9110, section 12.5.5: a compressed answer varies."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        encodings = told("accept-encoding")(scope)
        encoded = [("content-encoding", "gzip")] if b"gzip" in encodings else []
        await Scripted(headers=[FRESH, ("vary", "Accept-Encoding"), *encoded]).respond(send)

    wrapped = cached(app)

    asked: list[Any] = [[("accept-encoding", "gzip, br")], [], [("accept-encoding", "br")]]
    replies = [await get(wrapped, headers=headers) for headers in asked * 2]

    assert ["content-encoding" in reply.headers for reply in replies] == [True, False, False] * 2


async def test_a_failure_that_a_client_provokes_is_hidden_from_nobody_and_stays_with_it() -> None:
    """RFC 5861, section 4: the stale answer covers it for the one who provoked it; the next is confirmed."""

    def choking(scope: Scope) -> int:
        return 500 if told("x-break")(scope) == b"1" else 200

    clock = Clock()
    app = Believing(where, status=choking)
    wrapped = timed(app, clock, house=House(stale_if_error=60.0))
    await get(wrapped)
    clock.now += 61

    await get(wrapped, headers=[("x-break", "1")])
    victim = await get(wrapped)

    assert (victim.status, victim.headers["cache-status"]) == (200, "sipup; fwd=stale; stored")


async def test_a_client_s_reload_asks_the_app_for_nobody() -> None:
    """CWE-400: else anybody could have every answer made anew."""
    app = Counting()
    wrapped = cached(app)
    asked = [("Cache-Control", "no-cache, max-age=0"), ("Pragma", "no-cache")]

    replies = [await get(wrapped, headers=asked) for _ in range(5)]

    assert {reply.body for reply in replies} == {b"1"}
