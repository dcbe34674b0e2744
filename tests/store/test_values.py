"""get_or_set: one maker, and copies for all; what is due is renewed by one."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.context import Context, enter
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store import OpenStore, Store
from sipup_middleware.store.memory import Memory
from sipup_middleware.store.report import Report
from sipup_middleware.store.stamps import Stamps
from sipup_middleware.store.values import Made, Terms
from sipup_middleware.telemetry import Telemetry
from tests.asgi import Exchange, http_scope
from tests.store.doubles import Clock, open_store


class Maker:
    """Returns *value*, slowly, and counts how often it was asked."""

    def __init__(self, value: Any, *, fail: int = 0) -> None:
        self.value = value
        self.calls = 0
        self.fail = fail

    async def __call__(self) -> Any:
        self.calls += 1
        await anyio.sleep(0.01)
        if self.calls <= self.fail:
            raise LookupError("not yet")
        return self.value


@pytest.mark.parametrize("value", [None, False, "", 0, [], {"a": [1, 2.5, "ü"]}])
async def test_whatever_json_carries_is_a_value(cache: OpenStore, value: Any) -> None:
    make = Maker(value)

    found = [await cache.get_or_set("key", make, ttl=60) for _ in range(3)]

    assert found == [value] * 3
    assert make.calls == 1


async def test_what_a_caller_does_to_its_copy_no_other_sees(cache: OpenStore) -> None:
    make = Maker({"names": ["a"]})

    first = await cache.get_or_set("key", make, ttl=60)
    first["names"].append("b")
    second = await cache.get_or_set("key", make, ttl=60)
    second["names"].append("c")

    assert await cache.get_or_set("key", make, ttl=60) == {"names": ["a"]}
    assert make.value == {"names": ["a"]}


async def test_the_first_caller_sees_the_value_as_later_ones_will(cache: OpenStore) -> None:
    make = Maker((1, 2))

    assert [await cache.get_or_set("key", make, ttl=60) for _ in range(2)] == [[1, 2], [1, 2]]


async def test_what_json_cannot_carry_is_refused_at_the_first_call(cache: OpenStore) -> None:
    with pytest.raises(ConfigurationError, match="this set is not"):
        await cache.get_or_set("key", Maker({1, 2}), ttl=60)


async def test_an_exception_is_not_a_value(cache: OpenStore) -> None:
    make = Maker("late", fail=1)

    with pytest.raises(LookupError):
        await cache.get_or_set("key", make, ttl=60)

    assert await cache.get_or_set("key", make, ttl=60) == "late"


async def test_a_hundred_callers_at_once_make_one_call(cache: OpenStore) -> None:
    make = Maker(["top"])
    found: list[Any] = []

    async def ask() -> None:
        found.append(await cache.get_or_set("key", make, ttl=60))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)

    assert found == [["top"]] * 100
    assert make.calls == 1


async def test_a_failing_leader_fails_alone(cache: OpenStore) -> None:
    make = Maker("value", fail=1)
    found: list[Any] = []

    async def ask() -> None:
        try:
            found.append(await cache.get_or_set("key", make, ttl=60))
        except LookupError as error:
            found.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)

    assert make.calls == 2, "the next one led, the others followed it"
    assert found.count("value") == 19


async def test_a_cancelled_leader_is_followed_by_another(cache: OpenStore) -> None:
    began, make = anyio.Event(), Maker("value")
    found: list[Any] = []

    async def never() -> Any:
        began.set()
        await anyio.sleep_forever()

    async def ask(scope: anyio.CancelScope, maker: Any) -> None:
        with scope:
            found.append(await cache.get_or_set("key", maker, ttl=60))

    async with anyio.create_task_group() as tasks:
        leader = anyio.CancelScope()
        tasks.start_soon(ask, leader, never)
        await began.wait()
        for _ in range(10):
            tasks.start_soon(ask, anyio.CancelScope(), make)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()

    assert found == ["value"] * 10
    assert make.calls == 1


async def test_a_value_that_may_not_be_stored_is_made_by_each_at_once() -> None:
    cache, together = open_store(), anyio.Event()
    inside = 0

    async def make() -> int:
        nonlocal inside
        inside += 1
        if inside == 1:
            await anyio.sleep(0.01)  # the leader
        elif inside == 10:
            together.set()
        else:
            await together.wait()  # a convoy would never get past here
        return inside

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(lambda: cache.get_or_set("key", make, ttl=0))

    assert inside == 10


async def test_a_purge_during_the_making_is_not_forgotten(cache: OpenStore) -> None:
    async def make_old() -> str:
        await cache.invalidate(tags=["products"])
        return "old"

    assert await cache.get_or_set("key", make_old, ttl=60, tags=["products"]) == "old"

    assert await cache.get_or_set("key", Maker("new"), ttl=60, tags=["products"]) == "new"


async def test_a_response_made_from_a_value_depends_on_its_tags() -> None:
    cache = open_store()
    await cache.get_or_set("top", Maker([1]), ttl=60, tags=["products"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        context: Context = scope["sipup"]
        context.tags = cache.collect()
        await cache.get_or_set("top", Maker([2]), ttl=60, tags=["products"])
        await cache.invalidate(tags=["products"])
        assert context.tags.seal() is None

    exchange = Exchange()
    await enter(app, http_scope(), exchange.receive, exchange.send)


async def test_a_request_whose_response_nobody_keeps_gets_values_too() -> None:
    cache, make = open_store(), Maker([1])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await cache.get_or_set("top", make, ttl=60, tags="products") == [1]
        assert scope["sipup"].tags is None

    exchange = Exchange()
    await enter(app, http_scope(), exchange.receive, exchange.send)


def test_callers_on_several_threads_and_loops_share_a_flight() -> None:
    handle = Store().handle()
    make, found = Maker("value"), list[Any]()
    barrier = threading.Barrier(6)

    async def ask() -> None:
        barrier.wait()
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(one)

    async def one() -> None:
        with anyio.fail_after(5):
            found.append(await handle.get_or_set("key", make, ttl=60))

    threads = [
        threading.Thread(target=anyio.run, args=(ask,), kwargs={"backend": backend})
        for backend in ("asyncio", "trio") * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == ["value"] * 30
    assert make.calls == 1


class Slow:
    """Makes 1, 2, 3 ...; from `hold` on each waits to be let go, or to be told to fail."""

    def __init__(self) -> None:
        self.made = 0
        self.hold = math.inf
        self.begun, self.go = anyio.Event(), anyio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.made += 1
        made = self.made
        if made >= self.hold:
            self.begun.set()
            await self.go.wait()
        if self.error is not None:
            raise self.error
        return made


@dataclass
class Shared:
    """A second tier, in a dict."""

    held: dict[str, bytes] = field(default_factory=dict)
    degraded = False
    errors = 0

    async def ping(self) -> Any: ...

    async def get(self, key: str) -> bytes | None:
        return self.held.get(key)

    async def set(self, key: str, data: bytes, ttl: float) -> None:
        self.held[key] = data


async def test_a_stale_value_is_given_to_all_while_one_renews_it() -> None:
    clock, make, found = Clock(), Slow(), list[int]()
    cache = open_store(clock=clock)

    async def ask() -> None:
        found.append(await cache.get_or_set("key", make, ttl=60, stale=30))

    await ask()
    make.hold = 2
    clock.now += 60
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await make.begun.wait()
        for _ in range(20):
            await ask()
        make.go.set()
    await ask()

    assert found == [1] * 21 + [2, 2]
    assert make.made == 2


async def test_beyond_the_window_nobody_gets_it() -> None:
    clock, make, found = Clock(), Slow(), list[int]()
    cache = open_store(clock=clock)

    async def ask(stale: float) -> None:
        found.append(await cache.get_or_set("key", make, ttl=60, stale=stale))

    await ask(30)
    make.hold = 2
    clock.now += 90
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask, 30)
        await anyio.wait_all_tasks_blocked()
        make.go.set()

    assert found == [1, 2, 2, 2, 2, 2]


async def test_who_asks_for_no_stale_value_waits_for_the_new_one() -> None:
    clock, make, found = Clock(), Slow(), list[int]()
    cache = open_store(clock=clock)
    await cache.get_or_set("key", make, ttl=60, stale=30)
    make.hold = 2
    clock.now += 60

    async def ask(stale: float) -> None:
        found.append(await cache.get_or_set("key", make, ttl=60, stale=stale))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, 30)
        await make.begun.wait()
        tasks.start_soon(ask, 0)
        await anyio.wait_all_tasks_blocked()
        assert found == []
        make.go.set()

    assert found == [2, 2]


async def test_while_making_fails_the_stale_value_is_given_and_the_error_counted() -> None:
    clock, make, report, telemetry = Clock(), Slow(), Report(), Telemetry()
    cache = open_store(clock=clock, report=report)
    report.add(telemetry)
    await cache.get_or_set("key", make, ttl=60, stale=30)
    make.error = LookupError("away")

    clock.now += 89
    found = [await cache.get_or_set("key", make, ttl=60, stale=30) for _ in range(2)]
    clock.now += 1
    with pytest.raises(LookupError):
        await cache.get_or_set("key", make, ttl=60, stale=30)

    assert found == [1, 1]
    assert telemetry.counter("store.errors", op="make").value == 2


@pytest.mark.parametrize("end", ["purged", "over"])
async def test_a_stale_value_that_ends_while_making_fails_is_given_to_nobody(end: str) -> None:
    clock, make = Clock(), Slow()
    cache = open_store(clock=clock)
    await cache.get_or_set("key", make, ttl=60, tags=["a"], stale=30)
    clock.now += 60

    async def fail() -> int:
        if end == "purged":
            await cache.invalidate(tags=["a"])
        else:
            clock.now += 30
        raise LookupError("away")

    with pytest.raises(LookupError):
        await cache.get_or_set("key", fail, ttl=60, tags=["a"], stale=30)


async def test_a_purged_value_is_never_stale() -> None:
    clock, make = Clock(), Slow()
    cache = open_store(clock=clock)
    await cache.get_or_set("key", make, ttl=60, tags=["a"], stale=30)
    clock.now += 60

    await cache.invalidate(tags=["a"])

    assert await cache.get_or_set("key", make, ttl=60, tags=["a"], stale=30) == 2


async def test_a_purge_during_the_renewal_is_not_forgotten() -> None:
    clock, make = Clock(), Slow()
    cache = open_store(clock=clock)
    await cache.get_or_set("key", make, ttl=60, tags=["a"], stale=30)
    clock.now += 60

    async def make_old() -> int:
        await cache.invalidate(tags=["a"])
        return -1

    assert await cache.get_or_set("key", make_old, ttl=60, tags=["a"], stale=30) == -1

    assert await cache.get_or_set("key", make, ttl=60, tags=["a"], stale=30) == 2


async def test_when_who_renews_is_cancelled_the_next_one_does() -> None:
    clock, make, scope = Clock(), Slow(), anyio.CancelScope()
    cache = open_store(clock=clock)
    await cache.get_or_set("key", make, ttl=60, stale=30)
    make.hold = 2
    clock.now += 60

    async def ask() -> None:
        with scope:
            await cache.get_or_set("key", make, ttl=60, stale=30)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await make.begun.wait()
        scope.cancel()
    make.hold = math.inf

    assert await cache.get_or_set("key", make, ttl=60, stale=30) == 3


async def test_a_new_value_that_json_cannot_carry_is_refused_though_an_old_one_is_there() -> None:
    clock = Clock()
    cache = open_store(clock=clock)
    await cache.get_or_set("key", Maker("old"), ttl=60, stale=30)
    clock.now += 60

    with pytest.raises(ConfigurationError, match="this set is not"):
        await cache.get_or_set("key", Maker({1}), ttl=60, stale=30)


async def test_without_a_ttl_nothing_is_kept_to_be_stale() -> None:
    cache, make = open_store(), Slow()

    assert [await cache.get_or_set("key", make, ttl=0, stale=30) for _ in range(3)] == [1, 2, 3]


async def test_another_process_that_has_renewed_it_saves_the_making() -> None:
    clock, shared, stamps, make = Clock(), Shared(), Stamps(), Slow()
    second: Any = shared
    one, other = (OpenStore(Memory(1 << 20), stamps, second, Report(), clock=clock) for _ in range(2))

    async def ask(cache: OpenStore) -> int:
        return await cache.get_or_set("key", make, ttl=60, stale=30)

    first = [await ask(one), await ask(other)]
    clock.now += 60
    then = [await ask(one), await ask(other), await ask(other)]

    assert first == [1, 1]
    assert then == [2, 2, 2]


async def test_the_second_tier_keeps_a_value_until_it_may_no_longer_be_stale() -> None:
    clock, shared, stamps, make = Clock(), Shared(), Stamps(), Slow()
    second: Any = shared
    one, other = (OpenStore(Memory(1 << 20), stamps, second, Report(), clock=clock) for _ in range(2))
    await one.get_or_set("key", make, ttl=60, stale=30)
    make.error = LookupError("away")

    clock.now += 89

    assert await other.get_or_set("key", make, ttl=60, stale=30) == 1


async def test_who_is_eager_enough_renews_at_every_call_and_who_is_not_never_does() -> None:
    cache, eager, patient = open_store(), Slow(), Slow()

    early = [await cache.get_or_set("eager", eager, ttl=60, early=1e300) for _ in range(3)]
    late = [await cache.get_or_set("patient", patient, ttl=60, early=0) for _ in range(3)]

    assert early == [1, 2, 3]
    assert late == [1, 1, 1]


async def test_an_early_renewal_keeps_nobody_waiting_and_its_failure_hurts_nobody() -> None:
    cache, make, found = open_store(), Slow(), list[int]()

    async def ask() -> None:
        found.append(await cache.get_or_set("key", make, ttl=60, early=1e300))

    await ask()
    make.hold, make.error = 2, LookupError("away")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await make.begun.wait()
        await ask()
        make.go.set()

    assert found == [1, 1, 1]
    assert make.made == 2


@pytest.mark.parametrize("name", ["ttl", "stale", "early"])
@pytest.mark.parametrize("value", [-1, math.inf, math.nan])
def test_a_term_that_is_no_finite_number_from_0_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be a finite number"):
        Terms(**{"ttl": 60, name: value})


moments = st.floats(0, 1e9)


@given(moments, moments, moments)
def test_without_eagerness_a_value_is_due_when_it_is_stale(now: float, until: float, took: float) -> None:
    assert Made(b"", until, took).is_due(now, 0) is (now >= until)


@given(moments, moments, moments, st.floats(0, 100), st.floats(0, 1, exclude_max=True))
def test_what_is_due_stays_so_and_what_is_stale_is_due(
    now: float, until: float, took: float, early: float, number: float
) -> None:
    made = Made(b"", until, took)

    if made.is_due(now, early, lambda: number):
        assert made.is_due(now + 1, early, lambda: number)
    else:
        assert now < until


@pytest.mark.parametrize(("left", "share"), [(1.0, 368), (2.0, 136), (5.0, 7), (0.5, 607)])
def test_xfetch_the_chance_falls_by_e_for_each_making_that_fits_before_the_end(
    left: float, share: int
) -> None:
    made = Made(b"", 100.0, took=1.0)
    draws = [partial(float, (number + 0.5) / 1000) for number in range(1000)]

    due = sum(made.is_due(100.0 - left, 1.0, draw) for draw in draws)

    assert abs(due - share) <= 1


steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 50)),
        st.tuples(st.sampled_from(["ask", "ask in vain"]), st.sampled_from([0, 20, 40])),
        st.tuples(st.just("purge"), st.none()),
    ),
    max_size=20,
)


@given(steps)
async def test_one_caller_after_the_other_gets_what_the_terms_promise(history: list[tuple[str, Any]]) -> None:
    clock, make = Clock(), Slow()
    cache = open_store(clock=clock)
    value, until, kept = 0, 0.0, 0.0

    for step, amount in history:
        if step == "wait":
            clock.now += amount
        elif step == "purge":
            await cache.invalidate(tags=["a"])
            kept = 0.0
        else:
            make.error = LookupError("away") if step == "ask in vain" else None
            fresh, usable = clock.now < min(until, kept), clock.now < min(until + amount, kept)
            try:
                found = await cache.get_or_set("key", make, ttl=30, stale=amount, tags=["a"])
            except LookupError:
                found = 0
            if not fresh and make.error is None:
                value, until, kept = make.made, clock.now + 30, clock.now + 30 + amount
            assert found == (value if usable or make.error is None else 0)
            assert make.made >= value
