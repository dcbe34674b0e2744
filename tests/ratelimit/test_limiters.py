"""One suite for every limiter: counting in this process and on a server keeps the same promises."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import pytest
from anyio.to_thread import run_sync

from sipup_middleware.bridge import here
from sipup_middleware.errors import ConfigurationError, StoreUnavailable
from sipup_middleware.ratelimit import Decision
from sipup_middleware.ratelimit.backoff import Backoff
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.policy import Rule, Strategy
from sipup_middleware.ratelimit.redis import RedisLimiter
from sipup_middleware.services import Valkey, run_services
from tests.ratelimit.doubles import START, Clock, rule
from tests.ratelimit.test_live import Monitor, read

STRATEGIES: list[Strategy] = ["sliding", "fixed", "gcra", "moving"]
EXACT = Backoff(jitter=0)


class Limiter:
    """Either limiter, asked in the same way."""

    def __init__(self, made: MemoryLimiter | RedisLimiter, clock: Clock) -> None:
        self.made = made
        self.clock = clock

    async def hit(self, *asks: tuple[Rule, str]) -> Decision:
        decision: Decision = await self.do("decide", asks)
        return decision

    async def do(self, method: str, *args: Any) -> Any:
        if method == "strike" and isinstance(self.made, RedisLimiter):
            method, args = "count_and_strike", ((), *args)
        answer = getattr(self.made, method)(*args)
        return await answer if inspect.isawaitable(answer) else answer

    async def left(self, *asks: tuple[Rule, str]) -> list[int]:
        return [each.remaining for each in await self.do("peek", asks)]


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("redis_url") if request.param == "redis" else None


@pytest.fixture
async def make(url: str | None) -> AsyncIterator[Callable[..., Limiter]]:
    made: list[RedisLimiter] = []

    def make(rules: Sequence[Rule], **options: Any) -> Limiter:
        clock = Clock()
        if url is None:
            return Limiter(MemoryLimiter(rules, clock=clock, **options), clock)
        made.append(RedisLimiter(here(), url, rules, timeout=10, clock=clock, **options))
        return Limiter(made[-1], clock)

    yield make
    for limiter in made:
        await limiter.aclose()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A server of this test's own."""
    with run_services(postgres=False, environ={}) as running:
        assert running.valkey
        yield running.valkey


def named(*rates: tuple[int, int], **options: Any) -> list[Rule]:
    """Rules of names that no other test uses: the server is shared."""
    return [rule(rate, index=i, name=uuid4().hex, **options) for i, rate in enumerate(rates)]


def fresh() -> str:
    """A name of clients that no other test bans."""
    return uuid4().hex


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_exactly_the_amount_passes_and_nobody_else_is_affected(make: Any, strategy: Strategy) -> None:
    rules = named((100, 60), strategy=strategy)
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


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("cost", [1, 7])
@pytest.mark.parametrize("begin", [0.0, 0.001, 17.25, 59.999])
@pytest.mark.parametrize("rate", [(7, 60), (100, 3600), (10, 1)])
async def test_a_client_that_waits_as_told_is_served(
    make: Any, rate: tuple[int, int], begin: float, cost: int, strategy: Strategy
) -> None:
    rules = named(rate, cost=cost, strategy=strategy)
    limiter = make(rules)
    limiter.clock.now = START + begin
    while (decision := await limiter.hit((rules[0], "a"))).allowed:
        limiter.clock.now += 0.0625 * rate[1] / rate[0]

    for _ in range(3):
        limiter.clock.now += decision.reset
        assert decision.reset >= 1
        assert (await limiter.hit((rules[0], "a"))).allowed
        while (decision := await limiter.hit((rules[0], "a"))).allowed:
            pass


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_after_two_windows_everything_is_forgotten(make: Any, strategy: Strategy) -> None:
    rules = named((5, 60), strategy=strategy)
    limiter = make(rules)
    for _ in range(5):
        await limiter.hit((rules[0], "a"))

    limiter.clock.now += 120

    assert (await limiter.hit((rules[0], "a"))).remaining == 4


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("period", [60, 3600])
@pytest.mark.parametrize("jump", [-3600.0, -0.5, 3600.0])
async def test_a_clock_that_jumps_locks_nobody_out_and_whoever_waits_is_served(
    make: Any, jump: float, period: int, strategy: Strategy
) -> None:
    rules = named((5, period), strategy=strategy)
    limiter = make(rules)
    for _ in range(6):
        await limiter.hit((rules[0], "a"))

    limiter.clock.now += jump
    decision = await limiter.hit((rules[0], "a"))
    limiter.clock.now += 0 if decision.allowed else decision.reset
    later = await limiter.hit((rules[0], "a"))

    assert 0 <= decision.remaining < 5
    assert 0 < decision.reset <= period * (2 if strategy == "sliding" else 1)
    assert later.allowed


@pytest.mark.parametrize(
    "names",
    [
        ("a/b", "a:b", "a\nb", "a{b}", "a b", "a"),
        ("x" * 10_000, "x" * 10_001, "\udcff\udcfe", "\udcff", "é", ""),
    ],
)
async def test_names_of_any_kind_are_told_apart(make: Any, names: Sequence[str]) -> None:
    rules = named((5, 60), who=fresh())
    limiter = make(rules, backoff=EXACT)

    decisions = [await limiter.hit((rules[0], name)) for name in names]
    await limiter.do("ban", rules[0].who, names[0], 60)
    banned = [await limiter.do("banned_for", rules[0].who, name) for name in names]

    assert [each.remaining for each in decisions] == [4] * len(names)
    assert banned == [60] + [0] * (len(names) - 1)


def everything() -> list[Rule]:
    """Rules of every kind, two of them on one counter."""
    shared, who = uuid4().hex, uuid4().hex
    kinds: list[dict[str, Any]] = [
        {},
        {"cost": 2, "shadow": True},
        {"strategy": "gcra", "burst": 4, "who": who},
        {"strategy": "moving", "cost": 3, "who": who},
        {"strategy": "fixed", "late": True},
        {"strategy": "gcra", "late": True, "shadow": True},
        {"shared": shared, "strategy": "moving"},
        {"shared": shared, "strategy": "moving", "late": True},
    ]
    rates = [(9, 10), (12, 60), (10, 10), (20, 10), (6, 60), (3, 10), (30, 60), (30, 60)]
    return [
        rule(rate, index=index, name=uuid4().hex, **kind)
        for index, (rate, kind) in enumerate(zip(rates, kinds, strict=True))
    ]


@pytest.mark.parametrize(
    "backoff", [None, Backoff(after=2, within=9, base=0.7, factor=1.7, max=30, forget=60)]
)
@pytest.mark.parametrize("seed", [11, 12])
async def test_both_limiters_answer_alike(redis_url: str, backoff: Backoff | None, seed: int) -> None:
    random = Random(seed)  # noqa: S311 (any walk will do)
    rules, clock = everything(), Clock()
    memory = Limiter(MemoryLimiter(rules, clock=clock, backoff=backoff, draw=lambda: 0.3), clock)
    redis = Limiter(
        RedisLimiter(here(), redis_url, rules, timeout=10, clock=clock, backoff=backoff, draw=lambda: 0.3),
        clock,
    )
    steps = [0, 0, 0.001, 0.3, 1, 2.5, 7.777, 31, 100]

    for _ in range(400):
        clock.now += random.choice(steps)
        name = random.choice(["a", "a", "a", "b", "x" * 100])
        asks = [(each, name) for each in random.sample(rules, random.randint(1, 8))]
        for method in random.sample(["decide", "decide", "count", "peek"], random.randint(1, 4)):
            assert await redis.do(method, asks) == await memory.do(method, asks), method
        client = (asks[0][0].who, name)
        assert await redis.do("banned_for", *client) == await memory.do("banned_for", *client)
        if random.random() < 0.05:
            method, args = random.choice([("strike", client), ("unban", client), ("reset", asks[0])])
            assert await redis.do(method, *args) == await memory.do(method, *args)

    await redis.do("aclose")


async def test_a_late_look_at_a_refused_client_finds_the_window_rolled(make: Any) -> None:
    first, second = rules = named((1, 60), (5, 1))
    limiter = make(rules)
    await limiter.hit((first, "a"), (second, "a"))

    limiter.clock.now += 1.5
    decision = await limiter.hit((first, "a"), (second, "a"))

    assert (decision.allowed, decision.rule) == (False, first.name)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_of_200_requests_at_once_exactly_30_pass(make: Any, strategy: Strategy) -> None:
    (only,) = named((30, 3600), strategy=strategy)
    limiter, seen = make([only]), list[bool]()

    async def ask() -> None:
        seen.append((await limiter.hit((only, "a"))).allowed)

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(ask)

    assert (seen.count(True), seen.count(False)) == (30, 170)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_refusal_leaves_a_counter_of_every_strategy_untouched(make: Any, strategy: Strategy) -> None:
    (narrow,) = named((1, 60))
    (wide,) = named((10, 60), strategy=strategy)
    (dark,) = named((10, 60), strategy=strategy, shadow=True)
    limiter = make([narrow, wide, dark])

    answers = [await limiter.hit((wide, "a"), (dark, "a"), (narrow, "a")) for _ in range(5)]

    assert [each.allowed for each in answers] == [True] + [False] * 4
    assert await limiter.left((wide, "a"), (dark, "a"), (narrow, "a")) == [9, 9, 0]


async def test_a_moving_window_forgets_each_request_as_it_is_a_period_old(make: Any) -> None:
    (only,) = named((2, 60), strategy="moving")
    limiter = make([only])
    await limiter.hit((only, "a"))
    limiter.clock.now += 20
    await limiter.hit((only, "a"))

    refused = await limiter.hit((only, "a"))
    limiter.clock.now += 40
    served = await limiter.hit((only, "a"))
    again = await limiter.hit((only, "a"))

    assert (refused.allowed, refused.reset) == (False, 40)
    assert (served.allowed, again.allowed, again.reset) == (True, False, 20)


async def test_gcra_lends_a_burst_and_then_grants_at_an_even_pace(make: Any) -> None:
    (only,) = named((60, 60), strategy="gcra", burst=5)
    limiter = make([only])

    burst = [(await limiter.hit((only, "a"))).allowed for _ in range(6)]
    limiter.clock.now += 1
    paced = [(await limiter.hit((only, "a"))).allowed for _ in range(2)]

    assert burst == [True] * 5 + [False]
    assert paced == [True, False]


async def test_a_fixed_window_begins_anew_as_it_ends(make: Any) -> None:
    (only,) = named((3, 60), strategy="fixed")
    limiter = make([only])
    limiter.clock.now += 59.5

    first = [await limiter.hit((only, "a")) for _ in range(4)]
    limiter.clock.now += 0.5
    second = await limiter.hit((only, "a"))

    assert [each.allowed for each in first] == [True] * 3 + [False]
    assert (first[-1].reset, second.remaining) == (1, 2)


async def test_limits_of_one_scope_count_together_and_rates_of_one_limit_apart(make: Any) -> None:
    scope, name = uuid4().hex, uuid4().hex
    first = rule((5, 60), index=0, name="first", shared=scope)
    second = rule((5, 60), index=1, name="second", shared=scope)
    minute, hour = rule((5, 60), index=2, name=name), rule((5, 3600), index=2, name=name)
    limiter = make([first, second, minute])

    for each in (first, second, minute, hour, minute):
        await limiter.hit((each, "a"))

    assert await limiter.left((first, "a"), (second, "a"), (minute, "a"), (hour, "a")) == [3, 3, 3, 4]


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_better_plan_counts_on_where_the_old_one_was(make: Any, strategy: Strategy) -> None:
    name = uuid4().hex
    low, high = (rule((amount, 60), name=name, strategy=strategy) for amount in (5, 50))
    limiter = make([low])
    for _ in range(6):
        await limiter.hit((low, "a"))

    upgraded = await limiter.hit((high, "a"))
    for _ in range(20):
        await limiter.hit((high, "a"))
    downgraded = await limiter.hit((low, "a"))
    limiter.clock.now += downgraded.reset

    assert (upgraded.allowed, upgraded.remaining) == (True, 44)
    assert not downgraded.allowed
    assert (await limiter.hit((low, "a"))).allowed


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_late_rule_counts_what_it_is_told_and_refuses_the_next(make: Any, strategy: Strategy) -> None:
    (login,) = named((10, 60), late=True, strategy=strategy)
    limiter = make([login])

    good = [await limiter.hit((login, "a")) for _ in range(20)]
    for _ in range(10):
        assert (await limiter.hit((login, "a"))).allowed
        await limiter.do("count", [(login, "a")])
    refused = await limiter.hit((login, "a"))
    limiter.clock.now += refused.reset

    assert {(each.allowed, each.remaining) for each in good} == {(True, 10)}
    assert (refused.allowed, refused.rule, refused.remaining) == (False, login.name, 0)
    assert (await limiter.hit((login, "a"))).allowed


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_late_counts_may_exceed_the_amount_and_lock_out_for_two_windows_at_most(
    make: Any, strategy: Strategy
) -> None:
    login, other = *named((10, 60), late=True, strategy=strategy), *named((100, 60))
    limiter = make([login, other])

    for _ in range(500):
        await limiter.do("count", [(login, "a"), (other, "a")])
    refused = await limiter.hit((login, "a"), (other, "a"))
    limiter.clock.now += refused.reset

    assert not refused.allowed
    assert refused.reset <= 120
    assert (await limiter.hit((login, "a"))).allowed
    assert await limiter.left((other, "a")) == [100], "it is not late"


async def test_a_shadow_rule_never_refuses_and_tells_what_it_would_have_refused(make: Any) -> None:
    dark, real = *named((3, 60), shadow=True), *named((100, 60))
    limiter = make([dark, real], backoff=Backoff(after=0))

    answers = [await limiter.hit((dark, "a"), (real, "a")) for _ in range(10)]

    assert {(each.allowed, each.rule, each.banned) for each in answers} == {(True, real.name, False)}
    assert [each.shadowed for each in answers] == [()] * 3 + [(dark.name,)] * 7
    assert await limiter.left((dark, "a"), (real, "a")) == [0, 90]


async def test_shadow_rules_alone_decide_nothing(make: Any) -> None:
    (dark,) = named((1, 60), shadow=True)
    limiter = make([dark])

    first, second = [await limiter.hit((dark, "a")) for _ in range(2)]

    assert (first.allowed, first.rule, first.shadowed) == (True, "", ())
    assert (second.allowed, second.rule, second.shadowed) == (True, "", (dark.name,))
    assert second.reset == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_late_shadow_rule_recovers_as_an_enforced_one_would(make: Any, strategy: Strategy) -> None:
    (dark,) = named((2, 60), shadow=True, late=True, strategy=strategy)
    limiter = make([dark])
    for _ in range(50):
        await limiter.do("count", [(dark, "a")])

    told = (await limiter.hit((dark, "a"))).shadowed
    limiter.clock.now += 120
    later = (await limiter.hit((dark, "a"))).shadowed

    assert (told, later) == ((dark.name,), ())


async def test_a_peek_counts_nothing_and_a_reset_forgets_one_counter(make: Any) -> None:
    first, second = rules = named((5, 60), (3, 60), cost=2)
    limiter = make(rules)
    await limiter.hit((first, "a"), (second, "a"))

    before = await limiter.do("peek", [(first, "a"), (second, "a")])
    await limiter.do("reset", first, "a")
    after = await limiter.do("peek", [(first, "a"), (second, "a"), (second, "nobody")])

    assert [(each.allowed, each.rule, each.remaining) for each in before] == [
        (True, first.name, 3),
        (False, second.name, 0),
    ]
    assert [(each.allowed, each.remaining) for each in after] == [(True, 5), (False, 0), (True, 3)]
    assert await limiter.do("peek", []) == []


async def test_strikes_are_plain_and_then_bans_double(make: Any) -> None:
    (only,) = named((1, 100_000), who=fresh())
    limiter = make([only], backoff=EXACT)
    await limiter.hit((only, "a"))

    told, lasted = [], []
    for _ in range(9):
        told.append((await limiter.hit((only, "a"))).banned)
        lasted.append(await limiter.do("banned_for", only.who, "a"))
        limiter.clock.now += lasted[-1]

    assert told == [False] * 5 + [True] * 4
    assert lasted == [0] * 5 + [1, 2, 4, 8]


async def test_a_ban_holds_for_every_rule_of_its_kind_and_for_nobody_else(make: Any) -> None:
    who, other = fresh(), fresh()
    (narrow,), (wide,), (user,) = (
        named((1, 1), who=who),
        named((100, 60), who=who),
        named((100, 60), who=other),
    )
    limiter = make([narrow, wide, user], backoff=Backoff(after=0, base=30, jitter=0))
    for _ in range(2):
        await limiter.hit((narrow, "a"))

    banned = await limiter.hit((user, "a"), (wide, "a"))
    left = await limiter.left((user, "a"), (wide, "a"))

    assert (banned.allowed, banned.banned, banned.rule, banned.reset) == (False, True, wide.name, 30)
    assert left == [100, 100]
    assert (await limiter.hit((user, "a"))).allowed
    assert (await limiter.hit((wide, "b"))).allowed


async def test_a_request_during_a_ban_neither_extends_it_nor_is_a_strike(make: Any) -> None:
    (only,) = named((1, 1), who=fresh())
    limiter = make([only], backoff=Backoff(after=0, base=10, jitter=0))
    for _ in range(2):
        await limiter.hit((only, "a"))

    for _ in range(20):
        limiter.clock.now += 0.25
        assert (await limiter.hit((only, "a"))).banned
        assert await limiter.do("strike", only.who, "a") == 0
    left = await limiter.do("banned_for", only.who, "a")
    limiter.clock.now += left

    assert left == 5
    assert (await limiter.hit((only, "a"))).allowed


async def test_whoever_waits_a_ban_out_as_told_is_served(make: Any) -> None:
    (only,) = named((2, 60), who=fresh())
    limiter = make([only], backoff=Backoff(after=0, jitter=0.1))
    limiter.clock.now += 7.3
    while (first := await limiter.hit((only, "a"))).allowed:
        pass

    during = await limiter.hit((only, "a"))
    limiter.clock.now += during.reset

    assert first.banned
    assert during.banned
    assert (await limiter.hit((only, "a"))).allowed


async def test_after_a_quiet_time_strikes_and_bans_are_forgotten(make: Any) -> None:
    (only,) = named((1, 1_000_000), who=fresh())
    limiter = make([only], backoff=Backoff(after=1, jitter=0, forget=1000))
    for _ in range(3):
        await limiter.hit((only, "a"))

    limiter.clock.now += 1000
    plain = await limiter.hit((only, "a"))
    banned = await limiter.hit((only, "a"))

    assert (plain.banned, banned.banned) == (False, True)
    assert await limiter.do("banned_for", only.who, "a") == 1


async def test_a_status_strikes_too_and_tells_of_the_ban(make: Any) -> None:
    who = fresh()
    limiter = make(named((5, 60), who=who), backoff=EXACT)

    told = [await limiter.do("strike", who, "a") for _ in range(7)]

    assert told == [0] * 5 + [1, 0]


async def test_whoever_is_banned_by_hand_is_refused_until_the_time_is_over_or_they_are_pardoned(
    make: Any,
) -> None:
    (only,) = named((5, 60), who=fresh())
    limiter = make([only], backoff=EXACT)

    await limiter.do("ban", only.who, "a", 90.5)
    refused = await limiter.hit((only, "a"))
    left = await limiter.do("banned_for", only.who, "a")
    await limiter.do("unban", only.who, "a")
    pardoned = await limiter.hit((only, "a"))
    await limiter.do("ban", only.who, "a", 90.5)
    limiter.clock.now += 90.5

    assert (refused.allowed, refused.banned, refused.rule, refused.reset) == (False, True, only.name, 91)
    assert left == 90.5
    assert pardoned.allowed
    assert (await limiter.hit((only, "a"))).allowed


async def test_a_ban_is_never_told_in_the_name_of_a_shadow_rule(make: Any) -> None:
    dark, real = *named((5, 60), who=fresh(), shadow=True), *named((5, 60), who=fresh())
    limiter = make([dark, real], backoff=EXACT)
    await limiter.do("ban", dark.who, "a", 60)

    refused = await limiter.hit((dark, "a"), (real, "a"))

    assert (refused.banned, refused.rule, refused.reset, refused.shadowed) == (True, "", 60, ())


async def test_without_backoff_nobody_is_banned(make: Any) -> None:
    who = fresh()
    limiter = make(named((5, 60), who=who))

    with pytest.raises(ConfigurationError, match=r"RateLimit\.backoff"):
        await limiter.do("ban", who, "a", 60)

    await limiter.do("unban", who, "a")
    assert [await limiter.do(method, who, "a") for method in ("strike", "banned_for")] == [0, 0]


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_a_clock_that_jumps_bans_nobody_for_longer(make: Any, jump: float) -> None:
    (only,) = named((5, 60), who=fresh())
    limiter = make([only], backoff=EXACT)
    await limiter.do("ban", only.who, "a", 30)

    limiter.clock.now += jump
    left = await limiter.do("banned_for", only.who, "a")
    decision = await limiter.hit((only, "a"))
    limiter.clock.now += 30

    assert (left, decision.banned) == ((30, True) if jump < 0 else (0, False))
    assert (await limiter.hit((only, "a"))).allowed


async def test_three_limits_bans_and_a_strike_are_one_command(valkey: Valkey) -> None:
    rules = [
        *named((3, 3600), who="ip"),
        *named((1000, 3600), who="user", strategy="gcra"),
        *named((500, 3600), who="user", strategy="moving", shadow=True),
    ]
    limiter = RedisLimiter(here(), valkey.url, rules, timeout=10, backoff=Backoff(after=2))
    asks = list(zip(rules, ("192.0.2.7", "alice", "alice"), strict=True))
    await limiter.ping()

    commands = await run_sync(Monitor, valkey.url)
    answers = [await limiter.decide(asks) for _ in range(8)]
    sent = await run_sync(commands.stop)
    await limiter.aclose()

    assert [command.split()[0] for command in sent] == ["EVALSHA"] * 8
    assert [each.allowed for each in answers] == [True] * 3 + [False] * 5
    assert [each.banned for each in answers] == [False] * 5 + [True] * 3


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_what_counts_and_strikes_in_one_command_does_what_two_would(
    valkey: Valkey, strategy: Strategy
) -> None:
    early = rule((9, 60), name="early", strategy=strategy, who="ip")
    lates = [
        rule((9, 60), index=n, name=f"l{n}", strategy=strategy, who="ip", late=True, shared="both")
        for n in (1, 2)
    ]
    dark = rule((1, 60), index=3, name="dark", strategy=strategy, who="ip", late=True, shadow=True)
    asks = [(each, "a") for each in (early, *lates, dark)]
    limiter = RedisLimiter(here(), valkey.url, [], timeout=10, backoff=Backoff(after=1, base=60, jitter=0))
    await limiter.count_and_strike(asks, "user", "unknown to the server")

    commands = await run_sync(Monitor, valkey.url)
    bans = [await limiter.count_and_strike(asks, "ip", "a") for _ in range(3)]
    sent = await run_sync(commands.stop)
    left = [each.remaining for each in await limiter.peek(asks)]
    elsewhere = await limiter.banned_for("ip", "b")
    await limiter.aclose()

    assert bans == [0, 60, 0], "a ban is not prolonged"
    assert [command.split()[0] for command in sent] == ["EVALSHA"] * 3
    assert (left, elsewhere) == ([9, 5, 5, 0], 0)


async def test_without_backoff_what_counts_and_strikes_only_counts(redis_url: str) -> None:
    (late,) = named((5, 60), who=fresh(), late=True)
    limiter = RedisLimiter(here(), redis_url, [late], timeout=10)

    banned = await limiter.count_and_strike([(late, "a")], late.who, "a")
    (told,) = await limiter.peek([(late, "a")])
    await limiter.aclose()

    assert (banned, told.remaining) == (0, 4)


async def test_every_key_is_short_expires_and_names_nobody(valkey: Valkey) -> None:
    rules = [rule((2, 60), name=f"l{n}", strategy=each, who="ip") for n, each in enumerate(STRATEGIES)]
    late = rule((2, 60), name="late", late=True, who="ip")
    limiter = RedisLimiter(here(), valkey.url, rules, timeout=10, backoff=Backoff(after=0))
    names = ["a/b", "{a}", "a\nb", "x" * 10_000, "\udcff"]

    for name in names:
        for _ in range(3):
            await limiter.decide([(each, name) for each in rules])
        await limiter.count([(late, name)])
        await limiter.count_and_strike((), "user", name)
        await limiter.ban("header", name, 5)
        await limiter.peek([(each, name) for each in rules])
    await limiter.aclose()
    keys = [key.decode() for key in await run_sync(read, valkey.url, "KEYS", "*")]
    lives = [await run_sync(read, valkey.url, "PTTL", key) for key in keys]
    sizes = [await run_sync(read, valkey.url, "STRLEN", key) for key in keys]

    kinds = ["!header", "!ip", "!user", "l0:60", "l1:60:f", "l2:60:g", "l3:60:m", "late:60"]
    assert sorted({key.removeprefix("sip:1:l:").rpartition(":")[0] for key in keys}) == kinds
    assert len(keys) == len(kinds) * len(names)
    assert all(0 < life <= 86_400_000 for life in lives)
    assert max(map(len, keys)) < 64
    assert max(sizes) < 80


async def test_cancelled_at_random_no_key_is_left_for_ever(valkey: Valkey) -> None:
    random = Random(7)  # noqa: S311 (any moments will do)
    rules = [rule((5, 3600), name=each, strategy=each, who="ip") for each in STRATEGIES]
    limiter = RedisLimiter(here(), valkey.url, rules, timeout=10, backoff=Backoff(after=1))

    async def hurry(name: str) -> None:
        with anyio.move_on_after(random.uniform(0, 0.02)):
            await limiter.decide([(each, name) for each in rules])
            await limiter.count_and_strike((), "ip", name)

    for _ in range(10):
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(hurry, str(number % 20))
    await limiter.decide([(each, "late") for each in rules])
    await limiter.aclose()
    keys = await run_sync(read, valkey.url, "KEYS", "*")
    lives = [await run_sync(read, valkey.url, "PTTL", key) for key in keys]

    assert len(keys) >= len(STRATEGIES)
    assert all(life > 0 for life in lives)


async def test_every_script_that_the_server_forgot_is_sent_again(valkey: Valkey) -> None:
    (only,) = named((5, 60), who="ip", late=True)
    limiter = RedisLimiter(here(), valkey.url, [only], timeout=10, backoff=EXACT)

    async def everything() -> list[Any]:
        await limiter.count([(only, "a")])
        await limiter.ban("ip", "b", 60)
        return [
            (await limiter.decide([(only, "a")])).remaining,
            (await limiter.peek([(only, "a")]))[0].remaining,
            await limiter.count_and_strike((), "ip", "a"),
            await limiter.banned_for("ip", "b") > 0,
        ]

    first = await everything()
    await run_sync(read, valkey.url, "SCRIPT", "FLUSH")
    second = await everything()
    await limiter.aclose()

    assert (first, second) == ([4, 4, 0, True], [3, 3, 0, True])


@pytest.mark.parametrize(
    ("command", "error"),
    [("CONFIG SET maxmemory 1", "OOM"), ("REPLICAOF localhost 1", "READONLY")],
)
async def test_what_a_server_refuses_is_an_outage_whatever_was_asked(
    valkey: Valkey, command: str, error: str
) -> None:
    (only,) = named((5, 60), who="ip", late=True)
    (plain,) = named((5, 60), who="ip")
    limiter = RedisLimiter(here(), valkey.url, [only], timeout=10, backoff=EXACT)
    await limiter.ping()
    await run_sync(read, valkey.url, *command.split())

    for call in (
        lambda: limiter.decide([(plain, "a")]),
        lambda: limiter.count([(only, "a")]),
        lambda: limiter.count_and_strike((), "ip", "a"),
        lambda: limiter.ban("ip", "a", 5),
    ):
        with pytest.raises(StoreUnavailable, match=error):
            await call()
    await limiter.aclose()


@pytest.mark.parametrize("value", ["gibberish", "x" * 18, "1:2:3:4:5:6", ""])
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_foreign_value_under_a_key_of_ours_is_no_error(
    redis_url: str, strategy: Strategy, value: str
) -> None:
    (only,) = named((5, 60), who=fresh(), strategy=strategy)
    limiter = RedisLimiter(here(), redis_url, [only], timeout=10, backoff=EXACT)
    await limiter.decide([(only, "a")])
    await limiter.count_and_strike((), only.who, "a")
    for pattern in (f"sip:1:l:{only.counter}:*", f"sip:1:l:!{only.who}:*"):
        (key,) = await run_sync(read, redis_url, "KEYS", pattern)
        await run_sync(read, redis_url, "SET", key, value)

    decision = await limiter.decide([(only, "a")])
    await limiter.aclose()

    assert decision.remaining in range(5)
    assert not decision.banned


WORKER = """
import sys, anyio
from sipup_middleware.bridge import here
from sipup_middleware.ratelimit.backoff import Backoff
from sipup_middleware.ratelimit.redis import RedisLimiter
from tests.ratelimit.doubles import rule

async def main(url, name):
    only = rule((30, 3600), name=name, who=name, strategy=sys.argv[3])
    limiter = RedisLimiter(here(), url, [only], timeout=10, backoff=Backoff(jitter=0))
    if sys.argv[4] == "unban":
        await limiter.unban(name, "a")
    else:
        seen = []
        async def ask():
            seen.append((await limiter.decide([(only, "a")])).allowed)
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(ask)
        print(seen.count(True))
    await limiter.aclose()

anyio.run(main, sys.argv[1], sys.argv[2])
"""


def start_worker(url: str, name: str, strategy: Strategy, order: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, url, name, strategy, order]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_of_200_requests_to_two_processes_exactly_30_pass(redis_url: str, strategy: Strategy) -> None:
    name = uuid4().hex

    workers = [start_worker(redis_url, name, strategy, "ask") for _ in range(2)]
    passed = [int(worker.communicate(timeout=60)[0]) for worker in workers]

    assert sum(passed) == 30


async def test_who_is_pardoned_in_one_process_is_served_in_another(redis_url: str) -> None:
    (only,) = named((5, 3600))
    only = rule((5, 3600), name=only.name, who=only.name)
    limiter = RedisLimiter(here(), redis_url, [only], timeout=10, backoff=EXACT)
    await limiter.ban(only.who, "a", 600)
    banned = await limiter.decide([(only, "a")])

    worker = await run_sync(start_worker, redis_url, only.name, "sliding", "unban")
    await run_sync(worker.communicate)
    pardoned = await limiter.decide([(only, "a")])
    await limiter.aclose()

    assert worker.returncode == 0
    assert (banned.banned, pardoned.allowed) == (True, True)
