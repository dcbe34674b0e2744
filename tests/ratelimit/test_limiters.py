"""One suite for every limiter: counting in this process and on a server keeps the same promises."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from sipup_middleware.bridge import here
from sipup_middleware.ratelimit import Decision
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.policy import Rule
from sipup_middleware.ratelimit.redis import RedisLimiter
from tests.ratelimit.doubles import START, Clock, rule

Hit = Callable[..., Any]


class Limiter:
    """Either limiter, asked in the same way."""

    def __init__(self, made: MemoryLimiter | RedisLimiter, clock: Clock) -> None:
        self.made = made
        self.clock = clock

    async def hit(self, *asks: tuple[Rule, str]) -> Decision:
        decision = self.made.decide(asks)
        return await decision if inspect.isawaitable(decision) else decision


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("redis_url") if request.param == "redis" else None


@pytest.fixture
async def make(url: str | None) -> AsyncIterator[Callable[[Sequence[Rule]], Limiter]]:
    made: list[RedisLimiter] = []

    def make(rules: Sequence[Rule]) -> Limiter:
        clock = Clock()
        if url is None:
            return Limiter(MemoryLimiter(rules, clock=clock), clock)
        made.append(RedisLimiter(here(), url, rules, timeout=10, clock=clock))
        return Limiter(made[-1], clock)

    yield make
    for limiter in made:
        await limiter.aclose()


def named(*rates: tuple[int, int], cost: int = 1) -> list[Rule]:
    """Rules of names that no other test uses: the server is shared."""
    return [rule(rate, index=i, name=uuid4().hex, cost=cost) for i, rate in enumerate(rates)]


async def test_exactly_the_amount_passes_and_nobody_else_is_affected(make: Any) -> None:
    rules = named((100, 60))
    limiter = make(rules)

    answers = [(await limiter.hit((rules[0], "alice"))).allowed for _ in range(101)]

    assert answers == [True] * 100 + [False]
    assert (await limiter.hit((rules[0], "bob"))).remaining == 99


async def test_a_refusal_by_one_rule_costs_the_others_nothing(make: Any) -> None:
    wide, narrow = rules = named((10, 60), (2, 60))
    limiter = make(rules)
    for _ in range(2):
        await limiter.hit((wide, "a"), (narrow, "a"))

    refusals = [await limiter.hit((wide, "a"), (narrow, "a")) for _ in range(5)]

    assert {(each.allowed, each.rule, each.remaining) for each in refusals} == {(False, narrow.name, 0)}
    assert (await limiter.hit((wide, "a"))).remaining == 7


async def test_the_tightest_rule_speaks_and_the_longest_refusal(make: Any) -> None:
    short, long = rules = named((2, 1), (2, 3600))
    limiter = make(rules)

    first = await limiter.hit((short, "a"), (long, "a"))
    await limiter.hit((short, "a"), (long, "a"))
    refused = await limiter.hit((short, "a"), (long, "a"))

    assert (first.rule, first.remaining, first.reset) == (short.name, 1, 1)
    assert (refused.rule, refused.allowed) == (long.name, False)


async def test_no_double_burst_at_the_edge_of_a_window(make: Any) -> None:
    rules = named((100, 60))
    limiter = make(rules)

    limiter.clock.now = START + 59.9
    first = [(await limiter.hit((rules[0], "a"))).allowed for _ in range(100)]
    limiter.clock.now = START + 60.1
    second = [(await limiter.hit((rules[0], "a"))).allowed for _ in range(100)]

    assert all(first)
    assert sum(second) <= 1


@pytest.mark.parametrize("cost", [1, 7])
@pytest.mark.parametrize("begin", [0.0, 0.001, 17.25, 59.999])
@pytest.mark.parametrize("rate", [(7, 60), (100, 3600), (10, 1)])
async def test_a_client_that_waits_as_told_is_served(
    make: Any, rate: tuple[int, int], begin: float, cost: int
) -> None:
    rules = named(rate, cost=cost)
    limiter = make(rules)
    limiter.clock.now = START + begin
    while (decision := await limiter.hit((rules[0], "a"))).allowed:
        limiter.clock.now += 0.125 * rate[1] / rate[0]

    for _ in range(3):
        limiter.clock.now += decision.reset
        assert decision.reset >= 1
        assert (await limiter.hit((rules[0], "a"))).allowed
        while (decision := await limiter.hit((rules[0], "a"))).allowed:
            pass


async def test_after_two_windows_everything_is_forgotten(make: Any) -> None:
    rules = named((5, 60))
    limiter = make(rules)
    for _ in range(5):
        await limiter.hit((rules[0], "a"))

    limiter.clock.now += 120

    assert (await limiter.hit((rules[0], "a"))).remaining == 4


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_a_clock_that_jumps_locks_nobody_out_for_longer_than_two_windows(
    make: Any, jump: float
) -> None:
    rules = named((5, 60))
    limiter = make(rules)
    for _ in range(6):
        await limiter.hit((rules[0], "a"))

    limiter.clock.now += jump
    decision = await limiter.hit((rules[0], "a"))

    assert 0 <= decision.remaining < 5
    assert 0 < decision.reset <= 120


@pytest.mark.parametrize(
    "names",
    [
        ("a/b", "a:b", "a\nb", "a{b}", "a b", "a"),
        ("x" * 10_000, "x" * 10_001, "\udcff\udcfe", "\udcff", "é", ""),
    ],
)
async def test_names_of_any_kind_are_told_apart(make: Any, names: Sequence[str]) -> None:
    rules = named((5, 60))
    limiter = make(rules)

    decisions = [await limiter.hit((rules[0], name)) for name in names]

    assert [each.remaining for each in decisions] == [4] * len(names)


async def test_both_limiters_answer_alike(redis_url: str) -> None:
    random = Random(11)  # noqa: S311 (any walk will do)
    rules = [*named((5, 10)), *named((12, 60), cost=2)]
    rules = [
        rule((r.amount, r.period // 1000), index=i, name=r.name, cost=r.cost) for i, r in enumerate(rules)
    ]
    clock = Clock()
    memory = MemoryLimiter(rules, clock=clock)
    redis = RedisLimiter(here(), redis_url, rules, timeout=10, clock=clock)

    for _ in range(500):
        clock.now += random.choice([0, 0.001, 0.3, 1, 2.5, 7.777, 31])
        asks = random.choice([[(rules[0], "a"), (rules[1], "a")], [(rules[1], "a")], [(rules[0], "b")]])
        assert await redis.decide(asks) == memory.decide(asks)

    await redis.aclose()


async def test_a_late_look_at_a_refused_client_finds_the_window_rolled(make: Any) -> None:
    first, second = rules = named((1, 60), (5, 1))
    limiter = make(rules)
    await limiter.hit((first, "a"), (second, "a"))

    limiter.clock.now += 1.5
    decision = await limiter.hit((first, "a"), (second, "a"))

    assert (decision.allowed, decision.rule) == (False, first.name)
