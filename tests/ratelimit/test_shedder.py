"""Slots are taken, waited for, handed over and given back, on every loop."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from threading import Barrier, Thread
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint, current_token

from sipup_middleware.ratelimit import shedder as module
from sipup_middleware.ratelimit.adaptive import FEWEST, FLOOR, HALF_LIFE, WINDOW
from sipup_middleware.ratelimit.shed import LoadShed
from sipup_middleware.ratelimit.shedder import PROBE_EVERY, Kind, Reason, Shed, Shedder, Ticket
from sipup_middleware.telemetry import Telemetry
from tests.ratelimit.doubles import Clock

PATIENT = 600.0
"""A queue_timeout that no test lives to see."""


@dataclass
class Door:
    """A shedder with a clock set by hand, what it counts, and who came through in which order."""

    shedder: Shedder
    clock: Clock
    telemetry: Telemetry
    entered: list[str] = field(default_factory=list)
    tickets: dict[str, Ticket] = field(default_factory=dict)
    refused: dict[str, Reason] = field(default_factory=dict)

    async def enter(
        self, name: str, *, client: str | None = None, priority: int = 0, kind: Kind = "request"
    ) -> None:
        answer = await self.shedder.enter(client or name, priority, kind=kind)
        if isinstance(answer, Shed):
            self.refused[name] = answer.reason
        else:
            self.entered.append(name)
            self.tickets[name] = answer

    def shed(self) -> dict[str, int]:
        counters = self.telemetry.counters("ratelimit.shed")
        return {labels["reason"]: counter.value for labels, counter in counters if counter.value}

    def gauge(self, name: str) -> float:
        return next(value for _, value in self.telemetry.gauges(name))

    @property
    def empty(self) -> bool:
        return self.shedder.stats()[:4] == (0, 0, 0, 0)


def door(**options: Any) -> Door:
    clock, telemetry = Clock(), Telemetry()
    options = {"queue_timeout": PATIENT, "max_loop_lag": float("inf"), "adaptive": False, **options}
    return Door(Shedder(LoadShed(**options), telemetry, clock=clock), clock, telemetry)


@asynccontextmanager
async def waiting(at: Door, *names: str, **options: Any) -> AsyncIterator[dict[str, anyio.CancelScope]]:
    """Let those names wait, one after the other; yields how to cancel each."""
    scopes = {name: anyio.CancelScope() for name in names}

    async def wait(name: str) -> None:
        with scopes[name]:
            await at.enter(name, **options)

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(wait, name)
            await anyio.wait_all_tasks_blocked()
        yield scopes


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it up to its end, which must come before any wait."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


async def test_a_free_slot_is_taken_without_a_wait() -> None:
    at = door(max_loop_lag=0.2)

    ticket = drive(at.shedder.enter("a", 0))

    assert isinstance(ticket, Ticket)
    assert at.gauge("ratelimit.inflight") == 1
    ticket.leave()
    assert at.empty


async def test_a_request_above_the_cap_is_refused_where_none_may_wait() -> None:
    at = door(max_inflight=2, queue=0)

    for name in "abc":
        await at.enter(name)

    assert at.refused == {"c": "inflight"}
    assert at.shed() == {"inflight": 1}


async def test_a_slot_is_given_back_exactly_once() -> None:
    at = door(max_inflight=2)
    await at.enter("a")
    await at.enter("b")

    at.tickets["a"].leave()
    at.tickets["a"].leave()

    assert at.shedder.stats().requests == 1


async def test_those_who_wait_come_in_by_their_age() -> None:
    at = door(max_inflight=1)
    await at.enter("first")

    async with waiting(at, "a", "b", "c"):
        for name in ("first", "a", "b"):
            at.tickets[name].leave()
            await anyio.wait_all_tasks_blocked()

    assert at.entered == ["first", "a", "b", "c"]
    at.tickets["c"].leave()
    assert at.empty


async def test_a_higher_priority_comes_in_first() -> None:
    at = door(max_inflight=1)
    await at.enter("first")

    async with waiting(at, "low", priority=-1), waiting(at, "a", "b"), waiting(at, "high", priority=1):
        for name in ("first", "high", "a", "b"):
            at.tickets[name].leave()
            await anyio.wait_all_tasks_blocked()

    assert at.entered == ["first", "high", "a", "b", "low"]


async def test_nobody_overtakes_those_who_wait() -> None:
    at = door(max_inflight=1)
    await at.enter("first")

    async with waiting(at, "a"):
        at.tickets["first"].leave()
        async with waiting(at, "late"):
            at.tickets["a"].leave()

    assert at.entered == ["first", "a", "late"]


async def test_a_wait_in_vain_ends() -> None:
    at = door(max_inflight=1, queue_timeout=0.01)
    await at.enter("first")

    with anyio.fail_after(5):
        await at.enter("a")

    assert at.refused == {"a": "queue"}
    assert at.shed() == {"queue": 1}
    at.tickets["first"].leave()
    assert at.empty


async def test_a_full_queue_refuses_the_newcomer() -> None:
    at = door(max_inflight=1, queue=2)
    await at.enter("first")

    async with waiting(at, "a", "b") as scopes:
        await at.enter("c")
        for scope in scopes.values():
            scope.cancel()

    assert at.refused == {"c": "inflight"}


async def test_a_full_queue_pushes_out_the_newest_of_the_least_important() -> None:
    at = door(max_inflight=1, queue=3)
    await at.enter("first")

    async with waiting(at, "a", "b"), waiting(at, "high", priority=2), waiting(at, "newcomer", priority=1):
        assert at.refused == {"b": "queue"}
        for name in ("first", "high", "newcomer"):
            at.tickets[name].leave()
            await anyio.wait_all_tasks_blocked()

    assert at.entered == ["first", "high", "newcomer", "a"]
    at.tickets["a"].leave()
    assert at.empty


async def test_a_client_has_only_so_many_slots() -> None:
    at = door(max_per_client=2)

    for number in range(3):
        await at.enter(f"greedy {number}", client="greedy")
    await at.enter("modest")

    assert at.refused == {"greedy 2": "client"}
    at.tickets["greedy 0"].leave()
    await at.enter("greedy 3", client="greedy")
    assert "greedy 3" in at.entered


async def test_a_client_cannot_fill_the_queue() -> None:
    at = door(max_inflight=1, max_per_client=2)
    await at.enter("first")

    async with waiting(at, "a", "b", client="greedy") as scopes:
        await at.enter("c", client="greedy")
        for scope in scopes.values():
            scope.cancel()

    assert at.refused == {"c": "client"}


async def test_websockets_of_a_client_are_counted_apart() -> None:
    at = door(max_per_client=1)

    await at.enter("request", client="a")
    for name in ("socket", "second"):
        await at.enter(name, client="a", kind="websocket")

    assert at.entered == ["request", "socket"]
    assert at.refused == {"second": "client"}
    assert at.gauge("ratelimit.inflight") == 2
    for ticket in at.tickets.values():
        ticket.leave()
    assert at.empty


async def test_a_websocket_takes_a_slot_but_waits_for_none() -> None:
    at = door(max_inflight=1)
    await at.enter("socket", kind="websocket")

    async with waiting(at, "request"):
        await at.enter("second", kind="websocket")
        at.tickets["socket"].leave()

    assert at.entered == ["socket", "request"]
    assert at.refused == {"second": "inflight"}


async def test_a_cancelled_waiter_leaves_nothing() -> None:
    at = door(max_inflight=1)
    await at.enter("first")

    async with waiting(at, "a", "b") as scopes:
        scopes["a"].cancel()
        await anyio.wait_all_tasks_blocked()
        at.tickets["first"].leave()

    assert at.entered == ["first", "b"]
    at.tickets["b"].leave()
    assert at.empty
    assert at.shed() == {}


async def test_a_slot_whose_new_owner_is_cancelled_goes_to_the_next() -> None:
    at = door(max_inflight=1)
    await at.enter("first")

    async def request() -> None:
        with scope:
            await at.enter("a")
            try:
                await anyio.sleep_forever()
            finally:
                at.tickets["a"].leave()

    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()
        tasks.start_soon(request)
        await anyio.wait_all_tasks_blocked()
        async with waiting(at, "b"):
            at.tickets["first"].leave()
            scope.cancel()

    assert at.entered[-1] == "b"
    at.tickets["b"].leave()
    assert at.empty


async def test_a_slot_may_be_left_in_a_thread() -> None:
    at = door(max_inflight=1)
    await at.enter("first")

    async with waiting(at, "a"):
        await anyio.to_thread.run_sync(at.tickets["first"].leave)

    assert at.entered == ["first", "a"]
    at.tickets["a"].leave()
    assert at.empty


async def test_a_thousand_random_cancellations_leak_nothing() -> None:
    at = door(max_inflight=20, max_per_client=8, queue=50)
    dice = random.Random(23)  # noqa: S311 (no secret: the same dice each time)
    scopes: list[anyio.CancelScope] = []
    outcomes: Counter[str] = Counter()

    async def request(number: int) -> None:
        kind: Kind = "websocket" if number % 10 == 0 else "request"
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            answer = await at.shedder.enter(str(number % 40), number % 3, kind=kind)
            if isinstance(answer, Shed):
                outcomes[answer.reason] += 1
                return
            try:
                if number % 7 == 0:
                    answer.stream()
                for _ in range(dice.randrange(20)):
                    await checkpoint()
                outcomes["served"] += 1
            finally:
                answer.leave(0.1)
        outcomes["cancelled"] += scope.cancelled_caught

    async with anyio.create_task_group() as tasks:
        for number in range(2000):
            tasks.start_soon(request, number)
            if dice.random() < 0.1:
                await checkpoint()
            if scopes and dice.random() < 0.9:
                dice.choice(scopes[-60:]).cancel()

    assert at.empty
    assert outcomes.total() == 2000
    assert outcomes["cancelled"] > 200
    assert outcomes["served"] > 200
    assert at.shed().keys() >= {"inflight", "queue"}


async def test_a_stream_no_longer_counts_as_a_request() -> None:
    at = door(adaptive=True, max_inflight=100)
    at.shedder._limit = 1
    await at.enter("stream")

    async with waiting(at, "next"):
        at.tickets["stream"].stream()
        at.tickets["stream"].stream()

    assert at.shedder.stats()[:2] == (1, 1)
    for ticket in at.tickets.values():
        ticket.leave()
        ticket.stream()
    assert at.empty


def serve(at: Door, seconds: float, *, inflight: int, windows: int) -> None:
    """Let so many windows pass, in which as many requests as that take so long."""
    for _ in range(windows):
        at.clock.now += WINDOW
        tickets = [drive(at.shedder.enter(str(number), 0)) for number in range(inflight)]
        for ticket in tickets:
            ticket.leave(seconds)


async def test_the_adaptive_limit_falls_when_latency_doubles_and_recovers_after() -> None:
    at = door(adaptive=True, max_inflight=200)
    limits = [at.gauge("ratelimit.concurrency_limit")]

    for seconds in (0.1, 0.2, 0.1):
        for _ in range(20):
            serve(at, seconds, inflight=at.shedder.stats().limit, windows=1)
        limits.append(at.gauge("ratelimit.concurrency_limit"))

    start, usual, overloaded, after = limits
    assert start == usual == after == 200
    assert overloaded < 120


async def test_the_adaptive_limit_stays_while_half_of_it_is_not_used() -> None:
    at = door(adaptive=True, max_inflight=200)
    serve(at, 0.1, inflight=200, windows=20)
    serve(at, 0.2, inflight=150, windows=5)
    serve(at, 0.1, inflight=FEWEST, windows=2)  # ends the window that the last of these are in
    fallen = at.shedder.stats().limit

    serve(at, 0.1, inflight=fallen // 2 - 1, windows=50)

    assert at.shedder.stats().limit == fallen < 200


async def test_the_adaptive_limit_is_told_of_no_stream_nor_socket() -> None:
    at = door(adaptive=True, max_inflight=200)
    serve(at, 0.1, inflight=100, windows=20)

    for _ in range(20):
        at.clock.now += WINDOW
        for kind in ("request", "websocket"):
            tickets = [drive(at.shedder.enter(str(each), 0, kind=kind)) for each in range(90)]
            for ticket in tickets:
                ticket.stream()
                ticket.leave(99.0)

    assert at.shedder.stats().limit == 200
    assert at.empty


async def test_above_the_adaptive_limit_requests_are_refused_for_it() -> None:
    at = door(adaptive=True, max_inflight=100, queue=0)
    at.shedder._limit = FLOOR

    for number in range(FLOOR + 1):
        await at.enter(str(number))
    await at.enter("socket", kind="websocket")

    assert at.refused == {str(FLOOR): "adaptive"}
    assert "socket" in at.entered


async def test_a_limit_that_grows_lets_several_in() -> None:
    at = door(adaptive=True, max_inflight=100)
    at.shedder._limit = FLOOR
    assert at.shedder._adaptive is not None
    at.shedder._adaptive.level = at.shedder._adaptive.level._replace(limit=FLOOR)
    for number in range(FLOOR):
        await at.enter(str(number))

    async with waiting(at, *(f"waiter {number}" for number in range(FLOOR))) as scopes:
        for number in range(FEWEST):
            at.tickets[str(number)].leave(0.1)
        grown = at.shedder.stats()
        await anyio.wait_all_tasks_blocked()
        for scope in scopes.values():
            scope.cancel()

    assert grown.limit > FLOOR
    assert grown.requests == grown.limit
    for ticket in at.tickets.values():
        ticket.leave()
    assert at.empty


async def posted() -> None:
    """Wait until what was posted so far has run."""
    ran = anyio.Event()
    module._post(current_token().native_token, ran.set)
    await ran.wait()


async def probe(at: Door, lag: float) -> None:
    """Let the loop be late for the next probe."""
    await posted()
    at.clock.now += PROBE_EVERY
    await at.enter("probe")
    at.clock.now += lag
    at.tickets["probe"].leave()
    await posted()


async def test_a_loop_that_is_late_gets_no_more_requests_for_a_while() -> None:
    at = door(max_loop_lag=0.2)
    await at.enter("busy")

    await probe(at, 0.4)
    await at.enter("a")
    await at.enter("socket", kind="websocket")
    at.clock.now += 1.01 * HALF_LIFE
    await at.enter("b")

    assert at.refused == {"a": "lag", "socket": "lag"}
    assert at.shed() == {"lag": 2}
    assert at.entered == ["busy", "probe", "b"]


async def test_a_lag_within_bounds_refuses_nobody() -> None:
    at = door(max_loop_lag=0.2)
    await at.enter("busy")

    await probe(at, 0.19)
    await at.enter("a")

    assert at.refused == {}
    assert at.shedder.stats().lag == pytest.approx(0.19)


async def test_after_a_pause_the_only_request_comes_in() -> None:
    at = door(max_loop_lag=0.2)

    await probe(at, 9.0)
    await at.enter("a")

    assert "a" in at.entered


async def test_the_loop_is_probed_at_most_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    at, probes = door(max_loop_lag=0.2), list[Any]()
    monkeypatch.setattr(module, "_post", lambda token, function: probes.append(function))

    for _ in range(30):
        await at.enter("a", client="a")
        at.tickets["a"].leave()
        at.clock.now += PROBE_EVERY / 8

    assert len(probes) == 4


async def test_a_waiter_that_runs_late_is_a_lag_too() -> None:
    at = door(max_inflight=1, max_loop_lag=0.2)
    await at.enter("first")

    async with waiting(at, "a"):
        at.tickets["first"].leave()
        at.clock.now += 0.5

    assert at.shedder.stats().lag == pytest.approx(0.5)


RUNNERS = [
    pytest.param(asyncio.run, id="asyncio"),
    pytest.param(lambda main: anyio.run(lambda: main, backend_options={"use_uvloop": True}), id="uvloop"),
    pytest.param(lambda main: trio.run(lambda: main), id="trio"),
]
Runner = Callable[[Coroutine[Any, Any, Any]], object]


@pytest.mark.parametrize("run", RUNNERS[:2])
def test_a_slot_handed_to_a_task_that_is_cancelled_in_the_same_moment_goes_to_the_next(run: Runner) -> None:
    at = door(max_inflight=1)

    async def main() -> None:
        await at.enter("first")
        task = asyncio.create_task(at.enter("a"))
        await anyio.wait_all_tasks_blocked()
        async with waiting(at, "b"):
            at.tickets["first"].leave()
            task.cancel()
        await asyncio.wait([task])

    run(main())

    assert at.entered == ["first", "b"]
    at.tickets["b"].leave()
    assert at.empty


@pytest.mark.parametrize("run", RUNNERS)
def test_loops_in_two_threads_share_the_slots(run: Runner) -> None:
    at = door(max_inflight=3, queue=500, max_loop_lag=60.0)
    both, most, served = Barrier(2), list[int](), list[int]()

    async def request(number: int) -> None:
        ticket = await at.shedder.enter(str(number), 0)
        assert isinstance(ticket, Ticket)
        most.append(at.shedder.stats().requests)
        for _ in range(3):
            await checkpoint()
        ticket.leave(0.1)
        served.append(number)

    async def main() -> None:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for number in range(200):
                    tasks.start_soon(request, number)

    def thread(runner: Runner) -> None:
        both.wait()
        runner(main())

    threads = [Thread(target=thread, args=(runner,)) for runner in (run, asyncio.run)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(served) == 400
    assert max(most) <= 3
    assert at.empty


@pytest.mark.parametrize("run", RUNNERS)
def test_a_loop_of_its_own_for_each_request_finds_the_slots_as_they_were_left(run: Runner) -> None:
    at = door(max_inflight=1, queue=0, max_loop_lag=0.2)

    for _ in range(3):
        run(at.enter("a"))
        at.tickets["a"].leave()

    assert at.entered == ["a"] * 3
    assert at.empty


def test_a_slot_is_not_handed_to_a_closed_loop() -> None:
    at, loop = door(max_inflight=1), asyncio.new_event_loop()
    asyncio.run(at.enter("first"))
    task = loop.create_task(at.enter("forgotten"))
    loop.run_until_complete(asyncio.sleep(0))
    assert at.shedder.stats().waiting == 1
    loop.close()

    async def others() -> None:
        async with waiting(at, "a"):
            at.tickets["first"].leave()

    asyncio.run(others())

    assert at.entered == ["first", "a"]
    at.tickets["a"].leave()
    assert at.empty
    assert not task.done()


def test_a_request_that_the_collector_ends_while_we_work_is_settled_after() -> None:
    at = door(max_inflight=1)
    asyncio.run(at.enter("first"))

    with at.shedder._lock:  # as in the midst of an entry
        at.tickets["first"].leave(0.1)
    asyncio.run(
        at.enter(
            "next",
        )
    )

    assert at.entered == ["first", "next"]
    at.tickets["next"].leave()
    assert at.empty
