"""A storage of the library `limits` counts for us: what it promises, what it cannot, and what if it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import anyio
import pytest
from limits.aio.storage import (
    MemoryStorage,
    MovingWindowSupport,
    RedisStorage,
    SlidingWindowCounterSupport,
    Storage,
)
from limits.storage import MemcachedStorage
from redis.asyncio import Redis

from sipup_middleware.bridge import here
from sipup_middleware.errors import ConfigurationError, StoreUnavailable
from sipup_middleware.ratelimit import Backoff, Limit, RateLimit, by_ip
from sipup_middleware.ratelimit.foreign import ForeignLimiter
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.policy import Rule, Strategy
from sipup_middleware.ratelimit.registered import SipupStorage
from sipup_middleware.telemetry import BackendLost, BackendRestored
from tests.asgi import get, hello, lifespan
from tests.ratelimit.doubles import Clock, five_a_minute, rule, wrap

STRATEGIES: list[Strategy] = ["sliding", "fixed", "moving"]


class PlainServer(Storage):
    """The memory of `limits`, an await away; it fails, hangs and is overtaken when told to."""

    STORAGE_SCHEME = None

    def __init__(self, *, wrap_exceptions: bool = False) -> None:
        super().__init__(wrap_exceptions=wrap_exceptions)
        self.memory = MemoryStorage()
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.hangs = False
        self.overtaken = False

    @property
    def base_exceptions(self) -> type[Exception]:
        return LookupError

    @property
    def keys(self) -> set[str]:
        return {*self.memory.storage, *self.memory.events}

    async def ask(self, method: str, *args: Any) -> Any:
        self.asked.append(method)
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        if self.hangs:
            await asyncio.Event().wait()
        if self.overtaken and method.startswith(("acquire", "incr")):
            self.overtaken = False
            while await getattr(self.memory, method)(*args) not in {False, 6}:
                pass
        return await getattr(self.memory, method)(*args)

    async def incr(self, key: str, expiry: int, amount: int = 1) -> Any:
        return await self.ask("incr", key, expiry, amount)

    async def get(self, key: str) -> Any:
        return await self.ask("get", key)

    async def get_expiry(self, key: str) -> Any:
        return await self.ask("get_expiry", key)

    async def check(self) -> bool:
        raise AssertionError("it swallows errors")

    async def reset(self) -> int | None:
        raise AssertionError("it forgets everybody")

    async def clear(self, key: str) -> None:
        await self.ask("clear", key)


class Server(PlainServer, SlidingWindowCounterSupport, MovingWindowSupport):
    """The same with every kind of window."""

    STORAGE_SCHEME = None

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> Any:
        return await self.ask("acquire_sliding_window_entry", key, limit, expiry, amount)

    async def get_sliding_window(self, key: str, expiry: int) -> Any:
        return await self.ask("get_sliding_window", key, expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        await self.ask("clear_sliding_window", key, expiry)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> Any:
        return await self.ask("acquire_entry", key, limit, expiry, amount)

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> Any:
        return await self.ask("get_moving_window", key, limit, expiry)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the memory of `limits` takes for the time."""
    clock = Clock()
    monkeypatch.setattr("limits.aio.storage.memory.time", SimpleNamespace(time=clock))
    return clock


def limiter(
    storage: Storage, rules: Sequence[Rule], clock: Callable[[], float], **options: Any
) -> ForeignLimiter:
    return ForeignLimiter(here(), storage, rules, clock=clock, **{"timeout": 10, **options})


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_exactly_the_amount_passes_and_nobody_else_is_affected(
    clock: Clock, strategy: Strategy
) -> None:
    only = rule((100, 60), strategy=strategy)
    made = limiter(Server(), [only], clock)

    answers = [(await made.decide([(only, "alice")])).allowed for _ in range(101)]

    assert answers == [True] * 100 + [False]
    assert (await made.decide([(only, "bob")])).remaining == 99


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_refusal_by_one_rule_costs_the_others_nothing(clock: Clock, strategy: Strategy) -> None:
    wide = rule((10, 60), name="wide", strategy=strategy)
    narrow = rule((2, 60), name="narrow", strategy=strategy)
    made = limiter(Server(), [wide, narrow], clock)
    asks = [(wide, "a"), (narrow, "a")]

    decisions = [await made.decide(asks) for _ in range(7)]

    assert [(each.allowed, each.rule, each.remaining) for each in decisions[:3]] == [
        (True, "narrow", 1),
        (True, "narrow", 0),
        (False, "narrow", 0),
    ]
    assert [each.remaining for each in await made.peek([(wide, "a")])] == [8]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("cost", [1, 7])
@pytest.mark.parametrize("begin", [0.0, 0.001, 17.25, 59.999])
async def test_who_waits_as_told_is_served(clock: Clock, strategy: Strategy, cost: int, begin: float) -> None:
    only = rule((20, 60), cost=cost, strategy=strategy)
    made = limiter(Server(), [only], clock)
    clock.now += begin

    for _ in range(6):
        while (decision := await made.decide([(only, "a")])).allowed:
            clock.now += 1.3
        assert 1 <= decision.reset <= 120
        assert decision.reset_at >= clock.now
        clock.now += decision.reset
        assert (await made.decide([(only, "a")])).allowed


async def test_a_sliding_window_decides_as_our_own_does(clock: Clock) -> None:
    random = Random(7)  # noqa: S311 (any walk will do)
    only = rule((9, 60), cost=2)
    theirs, ours = limiter(Server(), [only], clock), MemoryLimiter([only], clock=clock)

    for _ in range(300):
        clock.now += random.randrange(40_000) / 1000
        there, here_ = await theirs.decide([(only, "a")]), ours.decide([(only, "a")])

        assert (there.allowed, there.remaining) == (here_.allowed, here_.remaining)
        assert 0 <= there.reset - here_.reset <= 1


async def test_where_there_is_no_sliding_window_a_fixed_one_counts(clock: Clock) -> None:
    only = rule((5, 60))
    server = PlainServer()
    made = limiter(server, [only], clock)

    answers = [(await made.decide([(only, "a")])).allowed for _ in range(6)]
    clock.now += 61

    assert answers == [True] * 5 + [False]
    assert (await made.decide([(only, "a")])).remaining == 4
    assert set(server.asked) == {"get", "get_expiry", "incr"}


@pytest.mark.parametrize("strategy", ["sliding", "moving"])
async def test_of_200_requests_at_once_exactly_30_pass(clock: Clock, strategy: Strategy) -> None:
    only = rule((30, 3600), strategy=strategy)
    made = limiter(Server(), [only], clock)
    passed: list[bool] = []

    async def hit() -> None:
        passed.append((await made.decide([(only, "a")])).allowed)

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(hit)

    assert passed.count(True) == 30


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_who_is_overtaken_is_refused_and_the_tightest_rule_was_counted_first(
    clock: Clock, strategy: Strategy
) -> None:
    wide = rule((100, 60), name="wide", strategy=strategy)
    narrow = rule((5, 60), name="narrow", strategy=strategy)
    server = Server()
    made = limiter(server, [wide, narrow], clock)

    server.overtaken = True
    decision = await made.decide([(wide, "a"), (narrow, "a")])

    assert (decision.allowed, decision.rule) == (False, "narrow")
    assert decision.reset >= 1
    assert [each.remaining for each in await made.peek([(wide, "a")])] == [100]


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_shadow_rule_refuses_nobody_and_counts_what_it_would_have_let_through(
    clock: Clock, strategy: Strategy
) -> None:
    dark = rule((2, 60), name="dark", shadow=True, strategy=strategy)
    plain = rule((10, 60), name="plain", strategy=strategy)
    server = Server()
    made = limiter(server, [dark, plain], clock)

    alone = await made.decide([(dark, "b")])
    decisions = [await made.decide([(dark, "a"), (plain, "a")]) for _ in range(3)]
    server.overtaken = True
    overtaken = await made.decide([(dark, "c")])

    assert (alone.allowed, alone.rule, alone.remaining) == (True, "", 0)
    assert [(each.allowed, each.rule, each.shadowed) for each in decisions] == [
        (True, "plain", ()),
        (True, "plain", ()),
        (True, "plain", ("dark",)),
    ]
    assert (overtaken.allowed, overtaken.shadowed) == (True, ("dark",))


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_late_rule_is_looked_at_and_counted_by_the_response(clock: Clock, strategy: Strategy) -> None:
    late = rule((2, 60), name="late", late=True, strategy=strategy)
    dark = rule((2, 60), name="dark", late=True, shadow=True, strategy=strategy)
    plain = rule((9, 60), name="plain", strategy=strategy)
    made = limiter(Server(), [late, dark, plain], clock)
    asks = [(late, "a"), (dark, "a"), (plain, "a")]

    free = [(await made.decide(asks)).remaining for _ in range(2)]
    for _ in range(4):
        await made.count(asks)
    refused = await made.decide(asks)

    assert free == [2, 2]
    assert (refused.allowed, refused.rule, refused.shadowed) == (False, "late", ("dark",))
    assert [each.allowed for each in await made.peek(asks)] == [False, False, True]
    assert (await made.peek([(plain, "a")]))[0].remaining == 7


async def test_rules_of_one_counter_count_a_request_once(clock: Clock) -> None:
    rules = [rule((10, 60), name=name, shared="both") for name in "xy"]
    made = limiter(Server(), rules, clock)

    await made.decide([(rules[0], "a"), (rules[1], "a")])

    assert [each.remaining for each in await made.peek([(rules[1], "a")])] == [9]


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_client_can_be_counted_anew(clock: Clock, strategy: Strategy) -> None:
    only = rule((3, 60), strategy=strategy)
    made = limiter(Server(), [only], clock)
    for _ in range(3):
        await made.decide([(only, "a")])

    await made.reset(only, "a")

    assert (await made.decide([(only, "a")])).remaining == 2


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_identifiers_neither_collide_nor_grow_the_key_nor_show(
    clock: Clock, strategy: Strategy
) -> None:
    names = ["a/b", "a", "b/c", "a:b", "{a}", "a\nb", "", " ", "x" * 10_000, "\udcff", "é", "e\u0301"]
    rules = [rule((5, 60), name=name, strategy=strategy) for name in ("one", "one.60")]
    server = Server()
    made = limiter(server, rules, clock)

    left = [(await made.decide([(each, name)])).remaining for each in rules for name in names]

    assert left == [4] * 2 * len(names)
    assert len(server.keys) == 2 * len(names)
    assert all(
        key.isascii() and key.isprintable() and " " not in key and len(key) < 80 for key in server.keys
    )


async def test_bans_are_of_this_process(clock: Clock) -> None:
    only = rule((1, 60), who="ip")
    other = rule((50, 60), name="other", who="ip")
    made = limiter(Server(), [only, other], clock, backoff=Backoff(after=1, base=100, jitter=0))
    await made.decide([(only, "a")])

    plain, banning, banned = [await made.decide([(only, "a")]) for _ in range(3)]
    elsewhere = await made.decide([(other, "a")])
    await made.unban("ip", "a")
    freed = await made.decide([(other, "a")])
    await made.ban("ip", "b", 7)

    assert [(each.allowed, each.banned) for each in (plain, banning, banned)] == [
        (False, False),
        (False, True),
        (False, True),
    ]
    assert (banning.reset, banned.reset) == (100, 100)
    assert (elsewhere.rule, elsewhere.banned) == ("other", True)
    assert (freed.allowed, freed.remaining) == (True, 49)
    assert (await made.decide([(other, "b")])).reset == 7
    assert await made.count_and_strike((), "ip", "c") == 0
    assert await made.count_and_strike((), "ip", "c") == 100

    await made.aclose()
    assert (await made.decide([(other, "b")])).allowed


async def test_a_ban_that_ends_before_the_window_does_is_told_as_the_window(clock: Clock) -> None:
    only = rule((1, 60))
    made = limiter(Server(), [only], clock, backoff=Backoff(after=0, base=1, jitter=0))
    await made.decide([(only, "a")])

    refused = await made.decide([(only, "a")])
    clock.now += refused.reset
    assert refused.banned
    assert (await made.decide([(only, "a")])).allowed


async def test_without_a_backoff_nobody_is_banned(clock: Clock) -> None:
    made = limiter(Server(), [], clock)

    with pytest.raises(ConfigurationError, match=r"RateLimit\.backoff"):
        await made.ban("ip", "a", 5)

    assert await made.count_and_strike((), "ip", "a") == 0
    await made.unban("ip", "a")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(), "OSError"),
        (TimeoutError(), "TimeoutError"),
        (RuntimeError("secret"), "RuntimeError"),
        (LookupError("secret"), "LookupError"),
        (ValueError(), "ValueError"),
    ],
)
@pytest.mark.parametrize("wrapped", [0, 1])
async def test_whatever_a_storage_raises_is_an_outage_told_by_its_type(
    clock: Clock, error: Exception, told: str, wrapped: int
) -> None:
    only = rule((5, 60), late=True)
    server = Server(wrap_exceptions=bool(wrapped))
    server.error = error
    made = limiter(server, [only], clock)

    for call in (
        made.decide([(only, "a")]),
        made.count([(only, "a")]),
        made.peek([(only, "a")]),
        made.reset(only, "a"),
        made.ping(),
    ):
        with pytest.raises(StoreUnavailable, match=rf"^{told}$"):
            await call


async def test_a_storage_that_hangs_costs_the_timeout(clock: Clock) -> None:
    only = rule((5, 60))
    server = Server()
    server.hangs = True
    made = limiter(server, [only], clock, timeout=0.01)

    with anyio.fail_after(5), pytest.raises(StoreUnavailable, match=r"^TimeoutError$"):
        await made.decide([(only, "a")])
    server.hangs = False

    await made.ping()
    assert (await made.decide([(only, "a")])).remaining == 4


@pytest.mark.parametrize("kept", [Server, MemoryStorage, SipupStorage])
async def test_a_layer_takes_it_for_its_storage(kept: Callable[[], Storage]) -> None:
    wrapped = wrap(hello, five_a_minute(), storage=kept(), storage_timeout=10)

    lazily = [(await get(wrapped.app)).status for _ in range(2)]
    async with lifespan(wrapped.app):
        replies = [await get(wrapped.app) for _ in range(4)]

    assert lazily == [200, 200]
    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    assert replies[0].headers["ratelimit"].startswith('"ip";r=2;t=')
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 120


async def test_while_it_is_away_limits_are_counted_here() -> None:
    server = Server()
    wrapped = wrap(hello, five_a_minute(), storage=server, storage_timeout=10)
    server.error = ConnectionError()

    async with lifespan(wrapped.app):
        replies = [await get(wrapped.app) for _ in range(6)]
        asked = len(server.asked)
        server.error = None
        reading = await wrapped.telemetry.checks["ratelimit:storage"].probe()

    assert [reply.status for reply in replies] == [200] * 5 + [429]
    assert asked == 1 + 5
    assert reading is not None
    assert reading.status == "pass"
    assert [type(fact).__name__ for fact in wrapped.facts] == [
        BackendLost.__name__,
        "RequestRefused",
        BackendRestored.__name__,
    ]


@pytest.mark.parametrize("options", [{"strategy": "gcra"}, {"burst": 9}])
def test_a_strategy_that_it_cannot_count_is_refused_at_construction(options: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"Limit\.strategy: 'ip' is gcra .* Server of RateLimit\.storage"
    ):
        RateLimit(limits=[five_a_minute(**options)], storage=Server())


def test_a_moving_window_is_refused_where_there_is_none() -> None:
    limit = five_a_minute(strategy="moving")

    with pytest.raises(ConfigurationError, match=r"Limit\.strategy: 'ip' is moving, .* PlainServer"):
        RateLimit(limits=[limit], storage=PlainServer())
    RateLimit(limits=[limit], storage=Server())


@pytest.mark.parametrize("storage", [7, None, MemcachedStorage])
def test_what_is_no_storage_is_refused(storage: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"RateLimit\.storage takes a URL or a storage of limits\.aio"
    ):
        RateLimit(storage=storage)


def test_a_storage_does_not_show() -> None:
    assert "storage=" not in repr(RateLimit(storage=Server()))


@asynccontextmanager
async def on_valkey(url: str) -> AsyncIterator[RedisStorage]:
    """`limits`' own storage on a real server."""
    storage = RedisStorage(
        f"async+redis+{url}",
        implementation="redispy",
        driver_info=None,  # type: ignore[arg-type]  # (redis-py's)
    )
    try:
        yield storage
    finally:
        client: Redis = storage.bridge.storage  # type: ignore[attr-defined]  # (its redispy bridge has one)
        await here().call(client.aclose)


@pytest.mark.live
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_on_a_real_server_the_amount_passes_and_who_waits_as_told_is_served(
    redis_url: str, strategy: Strategy
) -> None:
    limit = Limit("7/second", key=by_ip, name=uuid4().hex, cost=2, strategy=strategy)
    async with on_valkey(redis_url) as storage:
        layer = RateLimit(limits=[limit], storage=storage, storage_timeout=10)
        (only,) = layer._rules

        async with layer.open() as limits:
            for _ in range(2):
                passed = 0
                while (decision := await limits.decide([(only, "a")], print)) and decision.allowed:
                    passed += 1
                assert decision
                assert 1 <= passed <= 3
                await anyio.sleep(decision.reset + 0.1)  # the server's clock is another one
            served = await limits.decide([(only, "a")], print)

    assert served
    assert served.allowed
