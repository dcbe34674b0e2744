"""Answers that are sent though they are stale: RFC 9111, section 4.2.4; RFC 5861."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from sipup_middleware.cache import Rule
from sipup_middleware.cache.policy import House
from sipup_middleware.telemetry import ErrorUnhandled, Telemetry
from tests.asgi import Exchange, get, http_scope, request
from tests.cache.apps import FRESH, Clock, Origin, Scripted, timed
from tests.cache.test_single_flight import all_get, until

SWR = ("cache-control", "max-age=60, stale-while-revalidate=30")
SIE = ("cache-control", "max-age=60, stale-if-error=30")
ETAG = ("etag", '"a"')
OLD = (200, [SWR], b"old")
NEW = (200, [SWR], b"new")


async def test_5861_3_the_stale_answer_is_sent_at_once_and_made_anew_behind_it() -> None:
    app, clock = Origin([OLD, NEW]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 65

    replies = [await get(wrapped) for _ in range(2)]

    assert [reply.body for reply in replies] == [b"old", b"new"]
    assert replies[0].headers["cache-status"] == "sipup; hit; ttl=-5"
    assert replies[0].headers["age"] == "65"
    assert replies[1].headers["cache-status"] == "sipup; hit; ttl=60"


async def test_5861_3_beyond_its_window_the_app_is_asked_first() -> None:
    app, clock = Origin([(200, [SWR, ETAG], b"old"), NEW]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 91

    reply = await get(wrapped)

    assert (reply.body, reply.headers["cache-status"]) == (b"new", "sipup; fwd=stale; stored")


async def test_5861_3_a_refresh_is_a_plain_get_that_may_be_answered_with_304() -> None:
    app, clock = Origin([(200, [SWR, ETAG], b"old"), (304, [ETAG], b"")]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 65

    first = await request(
        wrapped, method="HEAD", headers=[("range", "bytes=0-0"), ("if-none-match", '"mine"'), ("x-a", "1")]
    )
    second = await get(wrapped)

    assert (first.status, first.body, second.body) == (200, b"", b"old")
    assert app.scopes[1]["method"] == "GET"
    assert app.asked(1) == {b"if-none-match": b'"a"', b"x-a": b"1"}
    assert second.headers["cache-status"] == "sipup; hit; ttl=60"


async def test_28_all_get_the_stale_answer_at_once_and_there_is_one_refresh() -> None:
    calls, go = 0, anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            await go.wait()
        await Scripted(headers=[SWR], chunks=[b"%d" % calls]).respond(send)

    clock, replies = Clock(), list[Any]()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 65

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, wrapped)
        await until(lambda: calls == 2)
        tasks.start_soon(all_get, wrapped, 50, replies)
        await until(lambda: len(replies) == 50)
        go.set()

    assert calls == 2
    assert {reply.body for reply in replies} == {b"1"}
    assert (await get(wrapped)).body == b"2"


async def test_28_the_refresh_goes_on_when_the_client_is_gone() -> None:
    answered, go = anyio.Event(), anyio.Event()
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            answered.set()
            await go.wait()
        await Scripted(headers=[SWR], chunks=[b"%d" % calls]).respond(send)

    clock = Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 65

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, wrapped)
        await answered.wait()
        tasks.cancel_scope.cancel()
        go.set()

    assert (await get(wrapped)).body == b"2"


async def test_a_refresh_reads_no_more_of_the_client_and_ends_as_a_request_does() -> None:
    heard: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append(await receive())
        await Scripted(headers=[SWR]).respond(send)
        heard.append(await receive())

    clock = Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 65
    heard.clear()

    await request(wrapped)

    assert heard == [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
    ]


@pytest.mark.parametrize("broken", [RuntimeError("secret"), (503, [], b"down"), (500, [FRESH], b"down")])
async def test_28_a_refresh_that_fails_harms_nobody_and_the_next_waits_a_moment(broken: Any) -> None:
    facts: list[Any] = []
    app, clock, telemetry = Origin([OLD, broken]), Clock(), Telemetry([facts.append])
    wrapped = timed(app, clock, telemetry=telemetry)
    await get(wrapped)
    clock.now += 65

    replies = [await get(wrapped) for _ in range(3)]

    assert [reply.body for reply in replies] == [b"old"] * 3
    assert len(app.scopes) == 2
    assert [fact.error for fact in facts if isinstance(fact, ErrorUnhandled)] == (
        ["RuntimeError"] if isinstance(broken, Exception) else []
    )
    assert "secret" not in repr(facts)


async def test_28_a_refresh_that_may_not_be_stored_ends_the_stale_answer() -> None:
    app, clock = Origin([OLD, (200, [("cache-control", "private")], b"new")]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 65

    bodies = [(await get(wrapped)).body for _ in range(2)]

    assert bodies == [b"old", b"new"]


async def test_max_age_0_with_a_window_is_stored_for_it() -> None:
    app, clock = Origin([(200, [("cache-control", "max-age=0, stale-while-revalidate=30")], b"old")]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)

    reply = await get(wrapped)

    assert (reply.body, reply.headers["cache-status"]) == (b"old", "sipup; hit; ttl=0")


@pytest.mark.parametrize("by", ["rule", "handler"])
async def test_a_rule_and_a_handler_open_the_window_too(by: str) -> None:
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        if by == "handler":
            scope["state"]["sipup"].response.ttl(60).stale(30)
        await Scripted(headers=(), chunks=[b"%d" % calls]).respond(send)

    clock = Clock()
    wrapped = timed(app, clock, *([Rule("/*", ttl=60, stale=30)] if by == "rule" else []))
    await get(wrapped)
    clock.now += 65

    replies = [await get(wrapped) for _ in range(2)]

    assert [reply.body for reply in replies] == [b"1", b"2"]


FORBIDS = ["must-revalidate", "proxy-revalidate", "s-maxage=60"]


@pytest.mark.parametrize("line", FORBIDS)
async def test_4_2_4_what_forbids_stale_answers_is_never_sent_stale(line: str) -> None:
    told = ("cache-control", f"max-age=60, {line}, stale-while-revalidate=30, stale-if-error=30")
    app, clock = Origin([(200, [told, ETAG], b"old"), (503, [], b"down")]), Clock()
    wrapped = timed(app, clock, Rule("/*", ttl=60, stale=30), house=House(stale_if_error=60.0))
    await get(wrapped)
    clock.now += 65

    reply = await get(wrapped)

    assert (reply.status, reply.body) == (503, b"down")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_5861_4_a_stale_answer_stands_in_for_an_error(status: int) -> None:
    app, clock = Origin([(200, [SIE], b"old"), (status, [], b"down")]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 65

    reply = await get(wrapped)

    assert (reply.status, reply.body) == (200, b"old")
    assert reply.headers["cache-status"] == f"sipup; fwd=stale; fwd-status={status}; ttl=-5"


async def test_5861_4_a_stale_answer_stands_in_for_an_exception_which_is_told() -> None:
    facts: list[Any] = []
    app, clock = Origin([(200, [SIE, ETAG], b"old"), RuntimeError("secret")]), Clock()
    wrapped = timed(app, clock, telemetry=Telemetry([facts.append]))
    await get(wrapped)
    clock.now += 65

    reply = await get(wrapped, headers=[("if-none-match", '"a"')])

    assert (reply.status, reply.headers["cache-status"]) == (304, "sipup; fwd=stale; ttl=-5")
    assert [(fact.error, len(fact.request_id)) for fact in facts] == [("RuntimeError", 32)]


@pytest.mark.parametrize(("status", "later"), [(501, 65), (404, 65), (503, 91)])
async def test_5861_4_for_other_answers_and_beyond_its_window_it_does_not(status: int, later: float) -> None:
    app, clock = Origin([(200, [SIE, ETAG], b"old"), (status, [], b"other")]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += later

    reply = await get(wrapped)

    assert (reply.status, reply.body) == (status, b"other")


@pytest.mark.parametrize("broken", [(503, [], b"error"), RuntimeError("down")])
async def test_5861_4_a_stale_answer_tells_its_head_when_the_app_fails_at_one(broken: Any) -> None:
    app, clock = Origin([(200, [SIE], b"old"), broken]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    reply = await request(wrapped, method="HEAD")

    assert (reply.status, reply.body, reply.headers["age"]) == (200, b"", "61")


async def test_5861_4_an_app_that_raises_at_a_head_that_nothing_may_stand_in_for_is_heard() -> None:
    app, clock = Origin([(200, [SIE, ETAG], b"old"), RuntimeError("down")]), Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 90

    with pytest.raises(RuntimeError, match="down"):
        await request(wrapped, method="HEAD")


@pytest.mark.parametrize(("says", "status"), [("stale-if-error=90", 200), ("stale-if-error=0", 503)])
async def test_5861_4_a_client_that_is_heeded_says_how_stale_in_place_of_an_error(
    says: str, status: int
) -> None:
    app, clock = Origin([(200, [SIE, ETAG], b"old"), (503, [], b"error")]), Clock()
    wrapped = timed(app, clock, honors_clients=True)
    await get(wrapped)
    clock.now += 89

    reply = await get(wrapped, headers=[("cache-control", says)])

    assert reply.status == status


async def test_5861_4_the_house_s_window_counts_where_the_answer_names_none() -> None:
    app, clock = Origin([(200, [FRESH], b"old"), (503, [], b"down")]), Clock()
    wrapped = timed(app, clock, house=House(stale_if_error=30.0))
    await get(wrapped)

    statuses = []
    for later in (65, 30):
        clock.now += later
        statuses.append((await get(wrapped)).status)

    assert statuses == [200, 503]


async def test_an_app_that_fails_after_its_answer_began_is_not_covered() -> None:
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            return await Scripted(headers=[SIE]).respond(send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("too late")

    clock = Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 65

    with pytest.raises(RuntimeError, match="too late"):
        await wrapped(http_scope(), Exchange().receive, Exchange().send)


async def test_29_those_who_wait_for_a_confirmation_get_the_stale_answer_when_the_app_fails() -> None:
    calls, go = 0, anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            await go.wait()
            raise RuntimeError("down")
        await Scripted(headers=[SIE]).respond(send)

    clock, replies = Clock(), list[Any]()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 65

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_get, wrapped, 20, replies)
        await until(lambda: calls == 2)
        go.set()

    assert calls == 2
    assert [reply.status for reply in replies] == [200] * 20
