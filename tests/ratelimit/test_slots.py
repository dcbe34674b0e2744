"""More than can be done at once: who is served, who waits, who is sent away, and that no slot is lost."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware import Limit, by_ip
from sipup_middleware.ratelimit import LoadShed
from sipup_middleware.ratelimit.shedder import Ticket
from sipup_middleware.ratelimit.slots import Slot
from tests.asgi import Exchange, get, http_scope
from tests.ratelimit.doubles import Clock, Wrapped, wrap

TYPES = "https://iana.org/assignments/http-problem-types#"
PATIENT = 600.0
"""A queue_timeout that no test lives to see."""


class Kitchen:
    """Serves each path when its dish is ready; notes the order."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ready: dict[str, anyio.Event] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        if ready := self.ready.get(scope["path"]):
            await ready.wait()
        if scope["path"] == "/fail":
            raise LookupError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})


def kitchen(*slow: str, limits: tuple[Limit, ...] = (), **options: Any) -> tuple[Wrapped, Kitchen]:
    app = Kitchen()
    app.ready = {path: anyio.Event() for path in slow}
    shed = LoadShed(**{"queue_timeout": PATIENT, "max_loop_lag": float("inf"), **options})
    return wrap(app, *(limits or (Limit("9999/minute", key=by_ip),)), shed=shed), app


async def test_at_the_limit_a_request_is_told_that_there_is_no_room() -> None:
    wrapped, app = kitchen("/slow", max_inflight=1, queue=0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, wrapped.app, "/slow")
        await anyio.wait_all_tasks_blocked()
        shed = await get(wrapped.app)
        app.ready["/slow"].set()

    assert shed.status == 503
    assert shed.json()["type"] == f"{TYPES}temporary-reduced-capacity"
    assert shed.headers["retry-after"] == "1"
    assert shed.headers["cache-control"] == "no-store"
    assert wrapped.count("ratelimit.shed", reason="inflight") == 1
    assert app.begun == ["/slow"]
    assert (await get(wrapped.app)).status == 200


async def test_who_is_shed_has_used_nothing_of_its_quota() -> None:
    wrapped, app = kitchen(
        "/slow", max_inflight=1, queue=0, limits=(Limit("2/minute", key=by_ip, strategy="fixed"),)
    )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(get, wrapped.app, "/slow", client="192.0.2.2"))
        await anyio.wait_all_tasks_blocked()
        shed = [(await get(wrapped.app)).status for _ in range(5)]
        app.ready["/slow"].set()

    assert shed == [503] * 5
    assert [(await get(wrapped.app)).status for _ in range(3)] == [200, 200, 429]


async def test_health_is_never_shed() -> None:
    wrapped, app = kitchen("/slow", max_inflight=1, queue=0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, wrapped.app, "/slow")
        await anyio.wait_all_tasks_blocked()
        health = await get(wrapped.app, "/_health/ready")
        app.ready["/slow"].set()

    assert health.status == 200


async def test_a_refused_request_holds_no_slot() -> None:
    wrapped, app = kitchen(
        "/slow", max_inflight=2, queue=0, limits=(Limit("1/minute", key=by_ip, strategy="fixed"),)
    )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(get, wrapped.app, "/slow", client="192.0.2.2"))
        await anyio.wait_all_tasks_blocked()
        seen = [(await get(wrapped.app)).status for _ in range(5)]
        inflight = wrapped.gauge("ratelimit.inflight")
        app.ready["/slow"].set()

    assert seen == [200] + [429] * 4
    assert inflight == 1


async def test_who_waits_is_served_in_turn() -> None:
    wrapped, app = kitchen("/slow", max_inflight=1)
    paths = [f"/{number}" for number in range(5)]

    async with anyio.create_task_group() as tasks:
        for path in ("/slow", *paths):
            tasks.start_soon(get, wrapped.app, path)
            await anyio.wait_all_tasks_blocked()
        app.ready["/slow"].set()

    assert app.begun == ["/slow", *paths]


async def test_the_important_is_served_before_what_came_earlier() -> None:
    wrapped, app = kitchen("/slow", max_inflight=1, priority=lambda scope: int(scope["path"] == "/checkout"))

    async with anyio.create_task_group() as tasks:
        for path in ("/slow", "/1", "/2", "/checkout"):
            tasks.start_soon(get, wrapped.app, path)
            await anyio.wait_all_tasks_blocked()
        app.ready["/slow"].set()

    assert app.begun == ["/slow", "/checkout", "/1", "/2"]


async def test_the_important_takes_the_place_of_another_in_a_full_queue() -> None:
    wrapped, app = kitchen(
        "/slow", max_inflight=1, queue=1, priority=lambda scope: int(scope["path"] == "/checkout")
    )
    seen: dict[str, int] = {}

    async def ask(path: str) -> None:
        seen[path] = (await get(wrapped.app, path)).status

    async with anyio.create_task_group() as tasks:
        for path in ("/slow", "/1", "/checkout"):
            tasks.start_soon(ask, path)
            await anyio.wait_all_tasks_blocked()
        app.ready["/slow"].set()

    assert seen == {"/slow": 200, "/1": 503, "/checkout": 200}


async def test_who_waited_in_vain_is_shed() -> None:
    wrapped, app = kitchen("/slow", max_inflight=1, queue_timeout=0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, wrapped.app, "/slow")
        await anyio.wait_all_tasks_blocked()
        waited = await get(wrapped.app)
        app.ready["/slow"].set()

    assert waited.status == 503
    assert wrapped.count("ratelimit.shed", reason="queue") == 1


async def test_one_client_may_not_hold_every_slot() -> None:
    wrapped, app = kitchen("/slow", max_per_client=1, queue=0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, wrapped.app, "/slow")
        await anyio.wait_all_tasks_blocked()
        same = await get(wrapped.app)
        other = await get(wrapped.app, client="192.0.2.2")
        app.ready["/slow"].set()

    assert (same.status, other.status) == (503, 200)


async def test_an_error_leaves_no_slot_behind() -> None:
    wrapped, _ = kitchen(max_inflight=1, queue=0)

    for _ in range(3):
        with pytest.raises(LookupError):
            await get(wrapped.app, "/fail")

    assert wrapped.gauge("ratelimit.inflight") == 0
    assert (await get(wrapped.app)).status == 200


async def test_neither_does_a_request_that_is_cancelled_at_work_or_in_the_queue() -> None:
    wrapped, _ = kitchen("/slow", max_inflight=1)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(get, wrapped.app, "/slow")
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert wrapped.gauge("ratelimit.inflight") == 0
    assert (await get(wrapped.app)).status == 200


async def test_neither_does_a_client_that_hangs_up() -> None:
    wrapped, _ = kitchen(max_inflight=1, queue=0)

    async def hung_up(_: Message) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await wrapped.app(http_scope(), Exchange().receive, hung_up)

    assert wrapped.gauge("ratelimit.inflight") == 0


async def test_in_shadow_nobody_is_shed_nobody_waits_and_it_is_counted() -> None:
    app = Kitchen()
    app.ready = {"/slow": anyio.Event()}
    wrapped = wrap(
        app,
        Limit("9999/minute", key=by_ip),
        shed=LoadShed(max_inflight=1, queue_timeout=PATIENT),
        mode="shadow",
    )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, wrapped.app, "/slow")
        await anyio.wait_all_tasks_blocked()
        replies = [await get(wrapped.app) for _ in range(3)]
        app.ready["/slow"].set()

    assert [reply.status for reply in replies] == [200] * 3
    assert wrapped.count("ratelimit.shed", reason="inflight") == 3


class Desk:
    """Where tickets go: notes what each was left with."""

    def __init__(self) -> None:
        self.left: list[float | None] = []
        self.streams = 0

    def leave(self, ticket: Ticket, seconds: float | None) -> None:
        self.left.append(seconds)

    def linger(self, ticket: Ticket) -> None:
        self.streams += 1


def slot() -> tuple[Slot, Desk, Clock, Exchange]:
    desk: Any = Desk()
    clock, exchange = Clock(), Exchange()
    return Slot(Ticket(desk, "a", {}, "request"), exchange.send, clock), desk, clock, exchange


async def test_a_slot_is_left_with_what_the_response_took() -> None:
    held, desk, clock, exchange = slot()

    clock.now += 0.25
    await held.send({"type": "http.response.start", "status": 200, "headers": []})
    await held.send({"type": "http.response.body", "body": b"hello"})
    held.leave()

    assert desk.left == [0.25]
    assert (desk.streams, exchange.body) == (0, b"hello")


async def test_a_response_in_several_parts_says_nothing_of_how_fast_the_app_is() -> None:
    held, desk, clock, exchange = slot()

    await held.send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (b"a", b"b", b"c"):
        clock.now += 60
        await held.send({"type": "http.response.body", "body": part, "more_body": True})
    await held.send({"type": "http.response.body"})
    held.leave()

    assert desk.left == [None]
    assert (desk.streams, exchange.body) == (1, b"abc")


async def test_a_refused_request_says_nothing_of_how_fast_the_app_is_and_gives_its_slot_at_once() -> None:
    held, desk, clock, _ = slot()

    clock.now += 0.0001
    held.forgo()
    held.leave()

    assert desk.left[0] is None


async def test_who_is_refused_and_slow_to_send_its_request_holds_no_slot() -> None:
    wrapped, _ = kitchen(max_inflight=1, queue=0, limits=(Limit("1/minute", key=by_ip, strategy="fixed"),))
    await get(wrapped.app)
    scope = http_scope(method="POST", headers=[("Content-Length", "5")])
    hung_up = anyio.Event()

    async def receive() -> Message:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_call, wrapped.app, scope, receive, send)
        await anyio.wait_all_tasks_blocked()
        inflight = wrapped.gauge("ratelimit.inflight")
        hung_up.set()

    assert inflight == 0


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)
