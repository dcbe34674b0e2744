"""The library `limits` counts with our memory: on any loop, in threads, bounded, without a timer."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond, storage, strategies
from limits.aio import storage as aio_storage
from limits.aio import strategies as aio_strategies
from limits.storage import storage_from_string

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.ratelimit.registered import SipupStorage, ThreadedSipupStorage
from tests.ratelimit.doubles import START, Clock

KINDS = [SipupStorage, ThreadedSipupStorage]
NAMES = ["fixed", "sliding"]
STRATEGIES: dict[tuple[type, str], Any] = {
    (SipupStorage, "fixed"): aio_strategies.FixedWindowRateLimiter,
    (SipupStorage, "sliding"): aio_strategies.SlidingWindowCounterRateLimiter,
    (ThreadedSipupStorage, "fixed"): strategies.FixedWindowRateLimiter,
    (ThreadedSipupStorage, "sliding"): strategies.SlidingWindowCounterRateLimiter,
}


class Scene:
    """A strategy of `limits` on our storage, asked in the same way whether it waits or not."""

    def __init__(self, kind: Any, name: str, **options: Any) -> None:
        self.clock = Clock()
        self.storage = kind(clock=self.clock, **options)
        self.limiter = STRATEGIES[kind, name](self.storage)

    async def do(self, method: str, *args: Any, **options: Any) -> Any:
        return await settled(getattr(self.limiter, method)(*args, **options))

    async def hits(self, times: int, *args: Any, **options: Any) -> list[bool]:
        return [await self.do("hit", *args, **options) for _ in range(times)]


async def settled(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


FIVE = RateLimitItemPerMinute(5)


@pytest.mark.parametrize(
    ("uri", "kind", "base"),
    [
        ("async+sipup://", SipupStorage, aio_storage.Storage),
        ("sipup://", ThreadedSipupStorage, storage.Storage),
    ],
)
def test_a_scheme_names_it(uri: str, kind: type, base: type) -> None:
    made = storage_from_string(uri, max_keys=10)

    assert type(made) is kind
    assert isinstance(made, base)


async def test_the_example_counts() -> None:
    limiter = aio_strategies.SlidingWindowCounterRateLimiter(storage_from_string("async+sipup://"))

    answers = [await limiter.hit(FIVE, "a") for _ in range(6)]

    assert answers == [True] * 5 + [False]


@pytest.mark.parametrize("name", NAMES)
async def test_exactly_the_amount_passes_and_nobody_else_is_affected(kind: Any, name: str) -> None:
    now = Scene(kind, name)

    assert await now.hits(6, FIVE, "alice") == [True] * 5 + [False]
    assert not await now.do("test", FIVE, "alice")
    assert await now.do("test", FIVE, "bob", cost=5)
    assert (await now.do("get_window_stats", FIVE, "alice")).remaining == 0
    assert (await now.do("get_window_stats", FIVE, "bob")).remaining == 5


@pytest.mark.parametrize("name", NAMES)
async def test_a_client_can_be_counted_anew(kind: Any, name: str) -> None:
    now = Scene(kind, name)
    await now.hits(5, FIVE, "a")

    await now.do("clear", FIVE, "a")

    assert await now.hits(6, FIVE, "a") == [True] * 5 + [False]


async def test_a_fixed_window_begins_with_the_first_hit_and_ends_after_its_period(kind: Any) -> None:
    now = Scene(kind, "fixed")
    now.clock.now += 17.25
    await now.hits(3, FIVE, "a")

    now.clock.now += 59.999
    late = await now.hits(3, FIVE, "a")
    stats = await now.do("get_window_stats", FIVE, "a")
    now.clock.now += 0.001

    assert late == [True, True, False]
    assert stats.reset_time == pytest.approx(START + 77.25)
    assert await now.hits(6, FIVE, "a") == [True] * 5 + [False]


async def test_a_sliding_window_has_no_double_burst_at_its_edge(kind: Any) -> None:
    now = Scene(kind, "sliding")

    now.clock.now += 59.9
    first = await now.hits(5, FIVE, "a")
    now.clock.now += 0.2
    edge = await now.hits(5, FIVE, "a")
    now.clock.now += 30
    half = await now.hits(5, FIVE, "a")
    now.clock.now += 120

    assert first == [True] * 5
    assert edge == [True] + [False] * 4
    assert half == [True, True, False, False, False]
    assert await now.do("test", FIVE, "a", cost=5)


async def test_windows_are_told_as_limits_reads_them(kind: Any) -> None:
    now = Scene(kind, "sliding")
    await now.hits(4, FIVE, "a")
    now.clock.now += 75

    await now.hits(1, FIVE, "a")
    told = await settled(now.storage.get_sliding_window(FIVE.key_for("a"), 60))
    nobody = await settled(now.storage.get_sliding_window(FIVE.key_for("b"), 60))

    assert told == (4, 45.0, 1, 105.0)
    assert nobody == (0, 0.0, 0, 105.0)


@pytest.mark.parametrize("name", NAMES)
async def test_a_hit_may_cost_more_than_one(kind: Any, name: str) -> None:
    now = Scene(kind, name)

    assert await now.do("hit", FIVE, "a", cost=4)
    assert not await now.do("test", FIVE, "a", cost=2)
    assert await now.do("test", FIVE, "a", cost=1)


@pytest.mark.parametrize("name", NAMES)
async def test_the_number_of_keys_is_bounded(kind: Any, name: str) -> None:
    now = Scene(kind, name, max_keys=100)

    for number in range(1000):
        await now.hits(1, FIVE, f"{number}{'x' * 1000}")
        await now.hits(1, RateLimitItemPerSecond(5), str(number))

    assert 200 <= await settled(now.storage.reset()) <= 400
    assert await settled(now.storage.reset()) == 0


@pytest.mark.parametrize("name", NAMES)
async def test_memory_is_freed_two_windows_later_by_the_next_hit(kind: Any, name: str) -> None:
    now = Scene(kind, name)
    for number in range(500):
        await now.hits(1, FIVE, str(number))

    now.clock.now += 120
    await now.hits(1, FIVE, "b")

    assert await settled(now.storage.reset()) == 1


@pytest.mark.parametrize("name", NAMES)
async def test_no_thread_is_started(kind: Any, name: str) -> None:
    before = set(threading.enumerate())

    await Scene(kind, name).hits(10, FIVE, "a")

    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("name", NAMES)
def test_threads_that_hit_at_once_get_exactly_the_amount(name: str) -> None:
    limiter: Any = STRATEGIES[ThreadedSipupStorage, name](ThreadedSipupStorage())
    item = RateLimitItemPerMinute(500, 60)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: limiter.hit(item, "a"), range(2000)))

    assert answers.count(True) == 500


def test_it_outlives_the_loop_that_it_was_first_used_on() -> None:
    limiter = aio_strategies.FixedWindowRateLimiter(SipupStorage())

    async def hit() -> bool:
        return await limiter.hit(FIVE, "a")

    assert [asyncio.run(hit()) for _ in range(6)] == [True] * 5 + [False]


async def test_it_is_well_and_never_wraps_an_error(kind: Callable[..., Any]) -> None:
    made = kind(wrap_exceptions=True)

    assert await settled(made.check())
    assert made.base_exceptions == ()
    assert await settled(made.get("nobody")) == 0


def test_nonsense_is_refused(kind: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="max_keys"):
        kind(max_keys=0)
