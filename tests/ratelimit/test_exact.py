"""Nothing is rounded, in Python or in Lua: amounts to 10**12, periods to a year, any cost."""

from __future__ import annotations

from random import Random
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware import Limit, by_ip
from sipup_middleware.bridge import here
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.ratelimit import scripts
from sipup_middleware.ratelimit.limit import MOST, MOST_KEPT
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.policy import Strategy
from sipup_middleware.ratelimit.redis import RedisLimiter
from sipup_middleware.telemetry import LimitFellBack
from tests.asgi import get, hello
from tests.ratelimit.doubles import Clock, rule, wrap
from tests.ratelimit.test_live import read

YEAR = 365 * 86_400
BATCH = 500
"""Divisions that one script does: Lua takes no more arguments than some thousands."""


def amounts(random: Random, most: int) -> int:
    return random.choice([random.randint(1, most), int(most ** random.random())])


@pytest.mark.live
@pytest.mark.parametrize("seed", range(8))
def test_lua_divides_what_no_number_of_its_own_holds(redis_url: str, seed: int) -> None:
    random = Random(seed)  # noqa: S311 (any numbers will do)
    asked = []
    for _ in range(BATCH):
        c = amounts(random, 2**40 - 1)
        asked.append((amounts(random, 2**53 - 1), random.randint(0, c), c))
    text = f"""local now = 0
    {scripts._COUNTERS}
    local told = {{}}
    for i = 1, #ARGV, 3 do
      local whole, rest = divided(tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]))
      told[#told + 1], told[#told + 2] = whole, rest
    end
    return told"""

    told = read(redis_url, "EVAL", text, "0", *(str(number) for numbers in asked for number in numbers))

    assert [*zip(told[::2], told[1::2], strict=True)] == [divmod(a * b, c) for a, b, c in asked]


LARGE: list[tuple[Strategy, int, int]] = [
    *(("sliding", MOST, period) for period in (1, 60, 86_400, YEAR)),
    ("sliding", 1_000_000, YEAR),
    ("sliding", 999_999_999_989, 7 * 86_400),
    ("fixed", MOST, YEAR),
    ("gcra", 1_000_000, 30 * 86_400),
    ("gcra", 10**8, 3600),
    ("moving", MOST_KEPT, YEAR),
]


@pytest.mark.live
@pytest.mark.parametrize(("strategy", "amount", "period"), LARGE)
async def test_a_server_reckons_as_this_process_does(
    redis_url: str, strategy: Strategy, amount: int, period: int
) -> None:
    random, clock = Random(f"{strategy}{amount}{period}"), Clock()  # noqa: S311 (any numbers will do)
    name = uuid4().hex
    Limit(f"{amount} per {period} second", key=by_ip, strategy=strategy)  # is one that can be asked for
    rules = [
        rule((amount, period), name=name, strategy=strategy, cost=cost)
        for cost in {1, amount, *(amounts(random, amount) for _ in range(6))}
    ]
    memory = MemoryLimiter(rules, clock=clock)
    server = RedisLimiter(here(), redis_url, rules, timeout=10, clock=clock)

    for _ in range(60):
        asks: list[Any] = [(random.choice(rules), "a")]
        here_, there = memory.decide(asks), await server.decide(asks)
        assert here_ == there
        clock.now = round(clock.now + random.choice([0, 0.001, period * random.random()]), 3)
    await server.aclose()


AMOUNTS = st.integers(1, 10**7) | st.integers(1, 10**14)
PERIODS = st.integers(1, 10**6) | st.integers(1, 10**11)
BURSTS = st.just(0) | st.integers(1, 10**14)


def is_exact(amount: int, period: int, strategy: str | None, burst: int) -> bool:
    """Say whether no product in Lua exceeds what its numbers hold."""
    if max(amount, period * 1000) > MOST:
        return False
    if burst or strategy == "gcra":
        return (2 * (burst or amount) + amount) * period * 1000 <= 2**53
    return strategy != "moving" or amount <= MOST_KEPT


@given(AMOUNTS, PERIODS, st.sampled_from([None, "sliding", "fixed", "gcra", "moving"]), BURSTS)
def test_what_cannot_be_reckoned_with_exactly_is_refused_by_its_name(
    amount: int, period: int, strategy: Any, burst: int
) -> None:
    options = {"strategy": strategy, "burst": burst if strategy in {None, "gcra"} else 0}
    rate = f"{amount} per {period} second"

    if is_exact(amount, period, **options):
        assert Limit(rate, key=by_ip, **options).rule(0, rate).amount == amount
    else:
        with pytest.raises(ConfigurationError, match=r"^Limit\.rate .*" + rate):
            Limit(rate, key=by_ip, **options)


@pytest.mark.parametrize("rate", ["1000000000000/day", "1000000/year", "1000000000/month"])
def test_large_quotas_of_long_periods_can_be_asked_for(rate: str) -> None:
    assert Limit(rate, key=by_ip).rule(0, rate).amount >= 10**6


def test_the_default_of_a_rate_that_is_a_function_is_checked_too() -> None:
    with pytest.raises(ConfigurationError, match=r"^Limit\.default must be at most 1000000000000 "):
        Limit(lambda _: "5/minute", key=by_ip, name="plan", default=f"{MOST + 1}/minute")


async def test_a_rate_that_a_function_gives_is_checked_as_it_is_given() -> None:
    wrapped = wrap(hello, Limit(lambda _: f"{MOST + 1}/minute", key=by_ip, name="plan", default="7/minute"))

    reply = await get(wrapped.app)

    assert reply.headers["ratelimit-policy"] == '"plan";q=7;w=60'
    assert wrapped.facts == [LimitFellBack("plan", "ConfigurationError")]
