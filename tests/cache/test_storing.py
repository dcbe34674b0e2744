"""What is stored, what is not, and for whom: RFC 9111, sections 3 and 4.1, through the shell."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from sipup_middleware.cache import Rule
from tests.asgi import Exchange, get, http_scope, request
from tests.cache.apps import FRESH, Counting, Scripted, cached

HOUR = Rule("/*", ttl=3600)
Asked = dict[str, Any]


async def answers(app: Counting, *asked: Asked, rule: Rule | None = None, path: str = "/") -> list[bytes]:
    wrapped = cached(app, *([rule] if rule else []))
    return [(await get(wrapped, path, **each)).body for each in asked]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([("cache-control", "max-age=60, PRIVATE")], "private"),
        ([FRESH, ("Cache-Control", "x=1, no-Store")], "no-store"),
        ([FRESH, ("cache-control", "no-cache")], "stale"),
        ([FRESH, ("set-cookie", "a=b")], "set-cookie"),
        ([FRESH, ("vary", "accept"), ("Vary", "*")], "vary"),
        ([("cache-control", "max-age=0")], "stale"),
        ([("expires", "0")], "stale"),
        ([("cache-control", "must-revalidate, max-age=60"), ("age", "60")], "stale"),
        ([FRESH, ("content-length", "many")], "status"),
        ([("content-type", "text/css")], "undeclared"),
    ],
)
async def test_3_what_may_not_be_stored_is_asked_for_again(
    headers: list[tuple[str, str]], reason: str
) -> None:
    rules = [HOUR] if headers[0][0] == "cache-control" else []
    app = Scripted(headers=headers)
    wrapped = cached(app, *rules)

    replies = [await get(wrapped, "/static/site.css") for _ in range(2)]

    assert app.calls == 2
    assert [reply.headers["cache-status"] for reply in replies] == [
        f"sipup; fwd=uri-miss; detail={reason}"
    ] * 2


@pytest.mark.parametrize("status", [206, 304])
async def test_3_a_part_or_304_of_the_app_is_not_stored(status: int) -> None:
    app = Scripted(status=status, chunks=(b"",))
    wrapped = cached(app)

    replies = [await get(wrapped) for _ in range(2)]

    assert (app.calls, [reply.status for reply in replies]) == (2, [status, status])


async def test_the_refusals_of_other_layers_are_not_stored() -> None:
    app = Scripted(status=429, headers=[("cache-control", "no-store"), ("retry-after", "9")])
    wrapped = cached(app, HOUR)

    await get(wrapped)
    await get(wrapped)

    assert app.calls == 2


async def test_stored_answers_carry_no_other_client_s_limits() -> None:
    own = [
        ("RateLimit", '"a";r=1'),
        ("ratelimit-policy", "x"),
        ("X-RateLimit-Remaining", "1"),
        ("Retry-After", "1"),
    ]
    wrapped = cached(Scripted(headers=[FRESH, *own, ("connection", "x-hop"), ("x-hop", "1")]))

    first, second = await get(wrapped), await get(wrapped)

    assert first.headers["Retry-After"] == "1"
    assert second.headers.keys() == {"cache-control", "content-length", "age", "cache-status"}


async def test_a_rule_gives_a_lifetime_where_the_app_declares_none() -> None:
    app = Scripted(headers=[("content-type", "Text/HTML; charset=utf-8")])
    wrapped = cached(
        app, Rule(content_type="application/json", ttl=1), Rule(content_type="text/html", ttl=300)
    )

    await get(wrapped)
    reply = await get(wrapped)

    assert reply.headers["cache-status"] in {"sipup; hit; ttl=299", "sipup; hit; ttl=300"}


async def test_what_the_app_declares_counts_before_a_rule() -> None:
    wrapped = cached(Scripted(), HOUR)

    await get(wrapped)
    reply = await get(wrapped)

    assert reply.headers["cache-status"] in {"sipup; hit; ttl=59", "sipup; hit; ttl=60"}


async def test_a_rule_of_no_seconds_stores_nothing() -> None:
    assert await answers(Counting(headers=()), {}, {}, rule=Rule("/me*", ttl=0), path="/me/x") == [b"1", b"2"]


async def test_a_request_with_a_cookie_is_served_by_the_app_under_a_rule() -> None:
    cookie: Asked = {"headers": [("Cookie", "session=1")]}
    app = Counting(headers=())
    wrapped = cached(app, HOUR)

    bodies = [(await get(wrapped, **each)).body for each in (cookie, {}, {}, cookie)]
    reply = await get(wrapped, **cookie)

    assert bodies == [b"1", b"2", b"2", b"3"]
    assert reply.headers["cache-status"] == "sipup; fwd=bypass; detail=cookie"


async def test_a_request_with_a_cookie_is_answered_with_what_the_app_declares_shared() -> None:
    assert await answers(Counting(), {}, {"headers": [("Cookie", "a=b")]}) == [b"1", b"1"]


@pytest.mark.parametrize(
    ("declares", "bodies"),
    [
        ("max-age=60", [b"1", b"2", b"2", b"3"]),
        ("max-age=60, public", [b"1", b"1", b"1", b"1"]),
        ("s-maxage=60", [b"1", b"1", b"1", b"1"]),
        ("max-age=60, must-revalidate", [b"1", b"1", b"1", b"1"]),
    ],
)
async def test_3_5_credentials_are_shared_only_where_the_app_says_so(
    declares: str, bodies: list[bytes]
) -> None:
    known: Asked = {"headers": [("Authorization", "Bearer x")]}
    app = Counting(headers=[("cache-control", declares)])

    assert await answers(app, known, {}, {}, known) == bodies


async def test_4_1_several_headers_lines_and_variants_are_told_apart() -> None:
    app = Counting(headers=[FRESH, ("vary", "Accept"), ("Vary", "accept-language")])
    asked: list[Asked] = [
        {"headers": headers}
        for headers in (
            [("accept", "a"), ("accept-language", "x")],
            [("accept", "b"), ("accept-language", "x")],
            [("accept", "a")],
            [("accept", "a"), ("accept-language", "")],
            [("accept-language", "x"), ("accept", "a")],
            [("accept", "a, b")],
            [("accept", "a"), ("accept", "b")],
        )
    ]

    assert await answers(app, *asked) == [b"1", b"2", b"3", b"4", b"1", b"5", b"5"]


async def test_4_1_another_variant_is_told_as_vary_miss() -> None:
    wrapped = cached(Scripted(headers=[FRESH, ("vary", "accept")]))
    await get(wrapped, headers=[("accept", "a")])

    reply = await get(wrapped, headers=[("accept", "b")])

    assert reply.headers["cache-status"] == "sipup; fwd=vary-miss; stored"


async def test_variants_are_bounded_and_the_oldest_goes() -> None:
    app = Counting(headers=[FRESH, ("vary", "accept")])
    wrapped = cached(app, max_variants=2)

    bodies = [(await get(wrapped, headers=[("accept", name)])).body for name in "abcbca"]

    assert bodies == [b"1", b"2", b"3", b"2", b"3", b"4"]


async def test_scheme_host_raw_path_and_query_each_make_another_answer() -> None:
    asked: list[Asked] = [
        {},
        {"scheme": "https"},
        {"query": "a=1"},
        {"query": "a=1&"},
        {"raw_path": b"/%2F"},
        {"headers": [("x-forwarded-host", "evil"), ("x-forwarded-proto", "https")]},
        {},
    ]

    assert await answers(Counting(), *asked) == [b"1", b"2", b"3", b"4", b"5", b"1", b"1"]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"headers": [("If-Match", '"a"')]}, "precondition"),
        ({"headers": [("Content-Length", "4")], "body": b"body"}, "body"),
        ({"headers": [("Host", "second")]}, "host"),
        ({"headers": [("X-Original-URL", "/admin")]}, "rewrite"),
        ({"query": "q" * 5000}, "length"),
    ],
)
async def test_what_the_key_does_not_tell_bypasses_the_store(asked: Asked, reason: str) -> None:
    app = Scripted()
    wrapped = cached(app)
    await get(wrapped)

    reply = await request(wrapped, **asked)

    assert app.calls == 2
    assert reply.headers["cache-status"] == f"sipup; fwd=bypass; detail={reason}"


async def test_an_unknown_host_bypasses_the_store() -> None:
    app = Scripted()
    wrapped = cached(app, allowed_hosts=("shop.example",))

    replies = [await get(wrapped) for _ in range(2)]

    assert (app.calls, replies[1].headers["cache-status"]) == (2, "sipup; fwd=bypass; detail=host")


async def test_a_parameter_that_the_rule_does_not_list_bypasses_the_store() -> None:
    app = Counting(headers=())
    wrapped = cached(app, Rule("/products", ttl=60, query=("page",)))

    replies = [await get(wrapped, "/products", query=query) for query in ("page=2", "page=2", "page=2&utm=x")]

    assert [reply.body for reply in replies] == [b"1", b"1", b"2"]
    assert replies[2].headers["cache-status"] == "sipup; fwd=bypass; detail=query"


async def test_an_unlisted_parameter_is_not_stored_by_a_rule_of_a_media_type() -> None:
    html = [("content-type", "text/html")]

    bodies = await answers(
        Counting(headers=html), {"query": "a=1"}, {"query": "a=1"}, rule=Rule(content_type="text/html", ttl=9)
    )

    assert bodies == [b"1", b"2"]


@pytest.mark.parametrize("reads", ["before", "during"])
async def test_a_body_that_no_header_announced_keeps_the_answer_from_being_stored(reads: str) -> None:
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        if reads == "before":
            await receive()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=9")]}
        )
        if reads == "during":
            await receive()
        await send({"type": "http.response.body", "body": b"x"})

    wrapped = cached(app)

    await request(wrapped, body=b"poison")
    clean = [await request(wrapped) for _ in range(2)]

    assert calls == 2
    assert clean[1].headers["cache-status"].startswith("sipup; hit")


async def test_no_cache_of_a_client_does_not_bypass() -> None:
    asked: Asked = {"headers": [("Cache-Control", "no-cache"), ("Pragma", "no-cache")]}

    assert await answers(Counting(), asked, asked) == [b"1", b"1"]


async def test_5_2_1_5_no_store_of_a_client_keeps_its_answer_from_being_stored() -> None:
    assert await answers(Counting(), {"headers": [("Cache-Control", "no-store")]}, {}, {}) == [
        b"1",
        b"2",
        b"2",
    ]


async def test_a_handler_has_the_last_word_on_the_lifetime() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["sipup"].response.tag("a").ttl(30)
        await Scripted(headers=()).respond(send)

    wrapped = cached(app)
    await get(wrapped)

    reply = await get(wrapped, headers=[("Cookie", "a=b")])

    assert reply.headers["cache-status"] in {"sipup; hit; ttl=29", "sipup; hit; ttl=30"}


@pytest.mark.parametrize("say", ["bypass", "ttl"])
async def test_a_handler_may_refuse_to_be_stored(say: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        control = scope["sipup"].response
        if say == "ttl":
            control.ttl(0)
        else:
            control.bypass()
        await Scripted().respond(send)

    wrapped = cached(app)
    await get(wrapped)

    assert (await get(wrapped)).headers["cache-status"].startswith("sipup; fwd=uri-miss; detail=")


@pytest.mark.parametrize("headers", [[("If-Match", "*")], []])
async def test_a_handler_may_speak_in_any_request(headers: list[tuple[str, str]]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["sipup"].response.tag("a").ttl(1.5).bypass()
        await scope["sipup"].store.invalidate(tags=["a"])
        await Scripted().respond(send)

    assert (await request(cached(app), method="PUT", headers=headers)).status == 200


async def test_a_response_with_trailers_is_passed_on_and_not_stored() -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=9")]}
        await send({**head, "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    async def send(message: Message) -> None:
        sent.append(message)

    wrapped = cached(app)
    for _ in range(2):
        await wrapped(http_scope(), Exchange().receive, send)

    assert [message["type"].rpartition(".")[2] for message in sent] == ["start", "body", "trailers"] * 2
