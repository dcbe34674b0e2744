"""Stored answers that the app confirms, or does not: RFC 9111, section 4.3."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from starlette.types import Receive, Scope, Send

from sipup_middleware.cache import ResponseCache, Rule
from sipup_middleware.cache.policy import House
from tests.asgi import Exchange, get, http_scope, request
from tests.cache.apps import FRESH, Clock, Origin, Scripted, cached, timed

ETAG = ("etag", '"a"')
MODIFIED = ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT")
TYPE = ("content-type", "text/plain")
EMPTY = {"type": "http.request", "body": b"", "more_body": False}
Lines = list[tuple[str, str]]


def origin(*later: Any, first: Lines | None = None) -> Origin:
    return Origin([(200, [FRESH, TYPE, *(first or [ETAG])], b"hello"), *later])


@pytest.mark.parametrize(
    ("validators", "asked"),
    [
        ([ETAG], {b"if-none-match": b'"a"'}),
        ([("etag", 'W/"a"')], {b"if-none-match": b'W/"a"'}),
        ([MODIFIED], {b"if-modified-since": MODIFIED[1].encode()}),
        ([ETAG, MODIFIED], {b"if-none-match": b'"a"', b"if-modified-since": MODIFIED[1].encode()}),
    ],
)
async def test_4_3_1_a_stale_answer_is_asked_about_with_its_validators(
    validators: Lines, asked: dict[bytes, bytes]
) -> None:
    app, clock = origin((304, validators, b""), first=validators), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    reply = await get(wrapped)

    assert app.asked(1) == asked
    assert (reply.status, reply.body) == (200, b"hello")
    assert reply.headers["cache-status"] == "sipup; fwd=stale; fwd-status=304; stored; ttl=60"
    assert reply.headers["age"] == "0"


async def test_4_3_4_a_confirmed_answer_is_fresh_again() -> None:
    app, clock = origin((304, [ETAG], b"")), Clock()
    wrapped = timed(app, clock)
    for _ in range(2):
        await get(wrapped)
        clock.now += 61

    await get(wrapped)
    clock.now += 30
    reply = await get(wrapped)

    assert len(app.scopes) == 3
    assert reply.headers["cache-status"] == "sipup; hit; ttl=30"


async def test_3_2_a_304_renews_every_field_but_those_of_the_body() -> None:
    newer = [
        ETAG,
        ("Cache-Control", "max-age=600"),
        ("x-a", "new"),
        ("x-a", "too"),
        ("content-length", "999"),
        ("content-type", "image/png"),
        ("content-encoding", "br"),
        ("content-range", "bytes 0-1/2"),
        ("set-cookie", "a=b"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("ratelimit", "1"),
    ]
    app, clock = origin((304, newer, b""), first=[ETAG, ("x-a", "old"), ("x-b", "kept")]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    replies = [await get(wrapped), await get(wrapped)]

    assert len(app.scopes) == 2
    for reply in replies:
        assert reply.raw_headers[:-2] == [
            (b"content-type", b"text/plain"),
            (b"x-b", b"kept"),
            (b"content-length", b"5"),
            (b"etag", b'"a"'),
            (b"Cache-Control", b"max-age=600"),
            (b"x-a", b"new"),
            (b"x-a", b"too"),
        ]
    assert replies[1].headers["cache-status"] == "sipup; hit; ttl=600"


@pytest.mark.parametrize("lines", [[("age", "20")], [("date", "Sun, 06 Nov 1994 08:50:18 GMT")]])
async def test_4_3_4_the_age_counts_from_the_304(lines: Lines) -> None:
    first = [ETAG, ("date", "Sun, 06 Nov 1994 08:49:37 GMT")]
    app, clock = origin((304, [ETAG, *lines], b""), first=first), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    await get(wrapped)
    reply = await get(wrapped)

    assert len(app.scopes) == 2
    assert reply.headers["cache-status"] == "sipup; hit; ttl=40"


@pytest.mark.parametrize(
    ("condition", "status"),
    [(("if-none-match", '"a"'), 304), (("if-none-match", '"b"'), 200), (("range", "bytes=0-1"), 206)],
)
async def test_4_3_1_a_client_s_own_condition_is_answered_from_what_was_confirmed(
    condition: tuple[str, str], status: int
) -> None:
    app, clock = origin((304, [ETAG], b"")), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61
    headers = [condition, ("if-modified-since", MODIFIED[1]), ("x-a", "1")]

    reply = await get(wrapped, headers=headers)

    assert app.asked(1) == {b"if-none-match": b'"a"', b"x-a": b"1"}
    assert reply.status == status


async def test_the_server_s_list_of_headers_is_not_touched() -> None:
    app, clock = origin((304, [ETAG], b"")), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61
    scope = http_scope(headers=[("range", "bytes=0-1")])

    await wrapped(scope, Exchange().receive, Exchange().send)

    assert scope == http_scope(headers=[("range", "bytes=0-1")])


async def test_4_3_3_another_full_answer_takes_its_place() -> None:
    app, clock = origin((200, [FRESH, ("etag", '"b"')], b"other")), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    replies = [await get(wrapped), await get(wrapped)]

    assert [reply.body for reply in replies] == [b"other"] * 2
    assert replies[0].headers["cache-status"] == "sipup; fwd=stale; stored"
    assert replies[1].headers["cache-status"] == "sipup; hit; ttl=60"


@pytest.mark.parametrize("status", [200, 404, 410])
async def test_4_3_3_an_answer_that_is_not_stored_takes_the_stored_one_with_it(status: int) -> None:
    app, clock = origin((status, [("cache-control", "no-store")], b"gone"), RuntimeError()), Clock()
    wrapped = timed(app, clock, house=House(stale_if_error=600.0))
    await get(wrapped)
    clock.now += 61

    reply = await get(wrapped)

    assert (reply.status, reply.body) == (status, b"gone")
    with pytest.raises(RuntimeError):
        await get(wrapped)


@pytest.mark.parametrize(
    "told",
    [
        [("etag", '"b"')],
        [("etag", 'W/"b"')],
        [("last-modified", "Sun, 06 Nov 1994 08:00:01 GMT")],
    ],
)
async def test_4_3_4_a_304_about_another_answer_is_not_used_and_the_app_is_asked_without_a_condition(
    told: Lines,
) -> None:
    app, clock = origin((304, told, b""), (200, [FRESH], b"other"), first=[ETAG, MODIFIED]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    reply = await get(wrapped, headers=[("if-none-match", '"mine"'), ("range", "bytes=0-1")])

    assert (reply.status, reply.body, len(app.scopes)) == (200, b"other", 3)
    assert app.asked(2) == {}
    assert (await get(wrapped)).body == b"other"


async def test_4_3_4_an_app_that_is_asked_again_receives_the_request_again() -> None:
    asked = origin((304, [("etag", '"b"')], b""), (200, [FRESH], b"other"))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() in ({"type": "http.request"}, EMPTY)
        await asked(scope, receive, send)

    clock = Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    with anyio.fail_after(10):
        reply = await get(wrapped)

    assert (reply.body, len(asked.scopes)) == (b"other", 3)


async def test_4_3_4_an_app_that_is_asked_again_notices_that_the_client_leaves() -> None:
    asked, heard = origin((304, [("etag", '"b"')], b""), (200, [FRESH], b"other")), list[Any]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asked(scope, receive, send)
        if len(asked.scopes) == 3:
            heard.extend([await receive(), await receive()])

    clock = Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    with anyio.fail_after(10):
        await get(wrapped)

    assert heard == [EMPTY, {"type": "http.disconnect"}]


async def test_4_3_4_a_304_without_a_validator_is_about_what_was_asked_with() -> None:
    app, clock = origin((304, [], b"")), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    reply = await get(wrapped)

    assert (reply.status, reply.body, len(app.scopes)) == (200, b"hello", 2)


@pytest.mark.parametrize(
    "line", ["no-cache", "max-age=0", "max-age=0, must-revalidate", "no-cache, max-age=60"]
)
async def test_5_2_2_4_what_must_be_confirmed_is_stored_and_confirmed_at_each_use(line: str) -> None:
    told = [("cache-control", line), ETAG]
    app = Origin([(200, told, b"hello"), (304, told, b"")])
    wrapped = cached(app)

    replies = [await get(wrapped) for _ in range(3)]

    assert [reply.body for reply in replies] == [b"hello"] * 3
    assert [each.get(b"if-none-match") for each in map(app.asked, range(3))] == [None, b'"a"', b'"a"']
    assert replies[2].headers["cache-status"].startswith("sipup; fwd=stale; fwd-status=304; stored; ttl=")


async def test_5_2_2_4_those_who_ask_at_once_are_each_confirmed_to_and_wait_for_nobody() -> None:
    asked = 0
    all_there = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal asked
        asked += 1
        conditional = any(name == b"if-none-match" for name, _ in scope["headers"])
        if conditional:
            if asked == 6:
                all_there.set()
            await all_there.wait()
        headers = [("cache-control", "no-cache"), ETAG]
        await Scripted(status=304 if conditional else 200, headers=headers).respond(send)

    wrapped = cached(app)
    await get(wrapped)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(get, wrapped)

    assert asked == 6


async def test_a_purge_before_the_confirmation_makes_it_an_ordinary_miss() -> None:
    app, clock = origin((200, [FRESH], b"other")), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    await request(wrapped, method="DELETE")
    reply = await get(wrapped)

    assert app.asked(2) == {}
    assert reply.headers["cache-status"] == "sipup; fwd=uri-miss; stored"


@pytest.mark.parametrize("when", ["during", "after"])
async def test_what_the_first_answer_was_made_from_still_purges_the_confirmed_one(when: str) -> None:
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # it knows its ETag without a look at the product
            if when == "during":
                await scope["sipup"].store.invalidate(tags=["product:7"])
            await Scripted(status=304, headers=[ETAG], chunks=[b""]).respond(send)
        else:
            scope["sipup"].response.tag("product:7")
            await Scripted(headers=[FRESH, ETAG], chunks=[b"%d" % calls]).respond(send)

    layer, clock = ResponseCache(), Clock()
    wrapped = timed(app, clock, store=layer.store)
    async with layer.open() as store:
        await get(wrapped)
        clock.now += 61
        assert (await get(wrapped)).body == b"1"

        if when == "after":
            await store.invalidate(tags=["product:7"])
        assert (await get(wrapped)).body == b"3"


async def test_a_lifetime_that_a_rule_or_the_handler_gave_holds_for_the_confirmed_answer_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        conditional = any(name == b"if-none-match" for name, _ in scope["headers"])
        if scope["path"] == "/handled" and not conditional:
            scope["sipup"].response.ttl(60)
        await Scripted(status=304 if conditional else 200, headers=[ETAG]).respond(send)

    clock = Clock()
    wrapped = timed(app, clock, Rule("/ruled", ttl=60))
    for path in ("/ruled", "/handled"):
        await get(wrapped, path)
        clock.now += 61
        await get(wrapped, path)

        reply = await get(wrapped, path)

        assert reply.headers["cache-status"] == "sipup; hit; ttl=60"


async def test_a_confirmation_that_forbids_storing_is_used_once_more_and_ends_it() -> None:
    app, clock = origin((304, [ETAG, ("cache-control", "private")], b""), (200, [], b"other")), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    bodies = [(await get(wrapped)).body for _ in range(2)]

    assert bodies == [b"hello", b"other"]


async def test_4_1_each_variant_is_confirmed_by_itself() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        tag = f'"{headers[b"accept"].decode()}"'
        known = headers.get(b"if-none-match") == tag.encode()
        lines = [FRESH, ("vary", "accept"), ("etag", tag)]
        await Scripted(status=304 if known else 200, headers=lines, chunks=[tag.encode()]).respond(send)

    clock = Clock()
    wrapped = timed(app, clock)
    asked: list[Any] = [{"headers": [("accept", name)]} for name in "ab"]
    for each in asked:
        await get(wrapped, **each)
    clock.now += 61

    replies = [await get(wrapped, **each) for each in asked]

    assert [reply.body for reply in replies] == [b'"a"', b'"b"']
    assert {reply.headers["cache-status"] for reply in replies} == {
        "sipup; fwd=stale; fwd-status=304; stored; ttl=60"
    }


HEAD_SAYS_SO = [ETAG, ("content-length", "5"), ("cache-control", "max-age=600"), ("x-a", "new")]


async def test_4_3_5_a_head_that_describes_the_stored_answer_renews_it() -> None:
    app, clock = origin((200, HEAD_SAYS_SO, b"")), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    head = await request(wrapped, method="HEAD")
    reply = await get(wrapped)

    assert app.scopes[1]["method"] == "HEAD"
    assert (head.headers["cache-status"], head.body) == ("sipup; fwd=stale", b"")
    assert (reply.body, reply.headers["x-a"]) == (b"hello", "new")
    assert reply.headers["cache-status"] == "sipup; hit; ttl=600"


@pytest.mark.parametrize(
    "lines", [[("etag", '"b"')], [ETAG, ("content-length", "6")], [ETAG, ("last-modified", "x")]]
)
async def test_4_3_5_a_head_that_does_not_makes_it_forgotten(lines: Lines) -> None:
    app, clock = origin((200, lines, b""), (200, [FRESH], b"other")), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    await request(wrapped, method="HEAD")
    reply = await get(wrapped)

    assert (reply.body, app.asked(2)) == (b"other", {})


async def test_a_stale_answer_without_a_validator_is_asked_for_anew() -> None:
    app, clock = origin((200, [FRESH], b"other"), first=[("x-a", "1")]), Clock()
    wrapped = timed(app, clock, house=House(stale_if_error=60.0))
    await get(wrapped)
    clock.now += 61

    reply = await get(wrapped, headers=[("if-none-match", '"mine"')])

    assert (reply.body, app.asked(1)) == (b"other", {})
    assert reply.headers["cache-status"] == "sipup; fwd=stale; stored"
