"""Of those who miss the same answer at once, one asks the app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.asgi import Exchange, get, http_scope
from tests.cache.apps import FRESH, Counting, Scripted, cached


@dataclass
class Slow(Counting):
    """Answers when it is let to."""

    go: anyio.Event = field(default_factory=anyio.Event)
    fails: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        self.chunks = [b"%d" % self.calls]
        await self.go.wait()
        if self.fails:
            raise RuntimeError("the app is broken")
        await self.respond(send)


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not true():
            await checkpoint()


async def all_get(app: ASGIApp, count: int, replies: list[Any], **scope: Any) -> None:
    async def one() -> None:
        try:
            replies.append(await get(app, **scope))
        except RuntimeError as error:
            replies.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)


async def test_1000_concurrent_misses_are_one_call_of_the_app() -> None:
    app, replies = Slow(), list[Exchange]()
    wrapped = cached(app)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_get, wrapped, 1000, replies)
        await until(lambda: app.calls > 0)
        app.go.set()

    assert app.calls == 1
    assert {reply.body for reply in replies} == {b"1"}
    told = [reply.headers["cache-status"] for reply in replies]
    assert told.count("sipup; fwd=uri-miss; stored") == 1
    assert told.count("sipup; fwd=uri-miss; collapsed") == 999


async def test_without_the_lock_each_asks() -> None:
    app, replies = Slow(), list[Exchange]()
    wrapped = cached(app, lock=False)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_get, wrapped, 5, replies)
        await until(lambda: app.calls == 5)
        app.go.set()

    assert len(replies) == 5


@pytest.mark.parametrize("headers", [[], [("cache-control", "private")], [FRESH, ("set-cookie", "a=b")]])
async def test_an_answer_that_is_not_stored_is_given_to_nobody_else_and_serves_nobody_in_turn(
    headers: list[tuple[str, str]],
) -> None:
    app, replies = Slow(headers=headers), list[Exchange]()
    wrapped = cached(app)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_get, wrapped, 10, replies)
        await until(lambda: app.calls == 1)
        app.go.set()
        await until(lambda: len(replies) == 10)
    app.go = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_get, wrapped, 10, replies)
        await until(lambda: app.calls == 20)
        app.go.set()

    assert app.calls == len(replies) == 20


async def test_a_stream_lets_the_others_go_as_soon_as_it_starts() -> None:
    calls = 0
    end = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await end.wait()
        await send({"type": "http.response.body"})

    replies: list[Exchange] = []
    wrapped = cached(app)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_get, wrapped, 3, replies)
        await until(lambda: calls == 3)
        end.set()

    assert len(replies) == 3


async def test_when_the_leader_fails_the_others_are_answered_at_once() -> None:
    app, replies = Slow(fails=True), list[Any]()
    wrapped = cached(app)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_get, wrapped, 5, replies)
        await until(lambda: app.calls == 1)
        app.go.set()

    assert [type(reply) for reply in replies] == [RuntimeError] * 5
    assert app.calls == 5


async def test_when_the_leader_is_cancelled_one_of_the_others_leads() -> None:
    app, replies = Slow(), list[Exchange]()
    wrapped = cached(app)
    leader = anyio.CancelScope()

    async def lead() -> None:
        with leader:
            await get(wrapped)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lead)
        await until(lambda: app.calls == 1)
        tasks.start_soon(all_get, wrapped, 5, replies)
        for _ in range(20):
            await checkpoint()
        leader.cancel()
        await until(lambda: app.calls == 2)
        app.go.set()

    assert app.calls == 2
    assert {reply.body for reply in replies} == {b"2"}


async def test_a_cancelled_follower_harms_nobody() -> None:
    app, replies = Slow(), list[Exchange]()
    wrapped = cached(app)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_get, wrapped, 2, replies)
        await until(lambda: app.calls == 1)
        with anyio.move_on_after(0):
            await get(wrapped)
        app.go.set()

    assert (app.calls, len(replies)) == (1, 2)


async def test_variants_do_not_wait_for_each_other_once_they_are_known() -> None:
    app, replies = Slow(headers=[FRESH, ("vary", "accept")]), list[Exchange]()
    wrapped = cached(app)
    app.go.set()
    await get(wrapped, headers=[("accept", "a")])
    app.go = anyio.Event()

    async with anyio.create_task_group() as tasks:
        for name in "bc":
            tasks.start_soon(partial(all_get, wrapped, 3, replies, headers=[("accept", name)]))
        await until(lambda: app.calls == 3)
        app.go.set()

    assert app.calls == 3
    assert len(replies) == 6


async def test_an_app_that_ends_without_an_answer_holds_nobody() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Say nothing."""

    wrapped = cached(app)

    with anyio.fail_after(5):
        for _ in range(2):
            await wrapped(http_scope(), Exchange().receive, Exchange().send)


async def test_a_stored_answer_is_there_before_its_last_message_is_sent() -> None:
    wrapped = cached(Scripted())
    seen: list[str] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            seen.append((await get(wrapped)).headers["cache-status"])

    await wrapped(http_scope(), Exchange().receive, send)

    assert seen[0].startswith("sipup; hit")


async def test_what_is_purged_over_and_over_while_it_is_made_keeps_nobody_waiting_for_good() -> None:
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        await checkpoint()
        await scope["sipup"].store.invalidate(url="/")
        await Scripted().respond(send)

    replies: list[Exchange] = []

    with anyio.fail_after(10):
        await all_get(cached(app), 20, replies)

    assert len(replies) == 20
    assert calls == 20
