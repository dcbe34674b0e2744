"""A server that does not answer, by script: who is asked, who is told, and what clients notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import anyio
import pytest
from starlette.types import ASGIApp

from sipup_middleware.breaker import Breaker
from sipup_middleware.errors import StoreUnavailable
from sipup_middleware.ratelimit import Backoff, Decision, Limit, LoadShed, RateLimit, by_ip, config
from sipup_middleware.ratelimit.limits import Limits
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.policy import UNAVAILABLE
from sipup_middleware.telemetry import BackendLost, BackendRestored, ClientBanned, Fact, RequestRefused
from tests.asgi import get, hello, request
from tests.ratelimit.doubles import Clock, Server, Wrapped, five_a_minute, rule, wrap

ASKS = [(rule((5, 60)), "alice")]
ALICE = ("ip", "alice")
ANSWERED = pytest.mark.parametrize(("counted", "struck"), [(ASKS, None), ([], ALICE), (ASKS, ALICE)])
REFUSAL = Decision(allowed=False, rule="ip", remaining=0, reset=30, reset_at=1_700_000_070)


@dataclass
class Scene:
    limits: Limits
    server: Server
    clock: Clock
    facts: list[Fact]

    async def ask(self) -> Any:
        return await self.limits.decide(ASKS, self.facts.append)


def scene(on_outage: Literal["local", "open", "closed"] = "local", *, broken: bool = True) -> Scene:
    server, clock = Server(broken=broken), Clock()
    limits = Limits(
        [ASKS[0][0]],
        local=MemoryLimiter([ASKS[0][0]], clock=clock),
        remote=server,
        breaker=Breaker(clock=clock),
        on_outage=[on_outage],
    )
    return Scene(limits, server, clock, [])


async def test_the_server_decides_while_it_answers() -> None:
    now = scene(broken=False)

    assert await now.ask() == now.server.answer
    assert now.facts == []


async def test_in_an_outage_the_same_limits_hold_in_process() -> None:
    now = scene("local")

    decisions = [await now.ask() for _ in range(6)]

    assert [(each.allowed, each.remaining) for each in decisions] == [
        (True, 4),
        (True, 3),
        (True, 2),
        (True, 1),
        (True, 0),
        (False, 0),
    ]


async def test_in_an_outage_requests_are_admitted_or_turned_away_as_chosen() -> None:
    assert await scene("open").ask() is None
    assert await scene("closed").ask() is UNAVAILABLE


async def test_after_five_errors_the_server_is_left_alone_and_the_loss_told_once() -> None:
    now = scene()

    for _ in range(100):
        await now.ask()

    assert now.server.asked == 5
    assert now.facts == [BackendLost("ratelimit", "ConnectionError")]


async def test_a_probe_finds_the_server_again_and_that_is_told_once() -> None:
    now = scene()
    for _ in range(10):
        await now.ask()

    now.clock.now += 0.5
    await now.ask()
    now.server.broken = False
    now.clock.now += 1
    decisions = [await now.ask() for _ in range(3)]

    assert now.server.asked == 5 + 1 + 3
    assert decisions == [now.server.answer] * 3
    assert now.facts == [BackendLost("ratelimit", "ConnectionError"), BackendRestored("ratelimit")]


async def test_a_server_whose_probes_fail_is_told_of_once_until_it_recovered() -> None:
    now = scene()

    for _ in range(50):
        await now.ask()
        now.clock.now += 0.5
    now.server.broken = False
    now.clock.now += 10
    await now.ask()

    assert 5 < now.server.asked < 15
    assert now.facts == [BackendLost("ratelimit", "ConnectionError"), BackendRestored("ratelimit")]


async def test_a_probe_that_is_cancelled_leaves_the_next_one_to_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = scene()
    for _ in range(5):
        await now.ask()
    now.clock.now += 0.5

    async def hang(_: Any) -> Any:
        await anyio.sleep_forever()

    with monkeypatch.context() as patch:
        patch.setattr(now.server, "decide", hang)
        with anyio.move_on_after(0.01):
            await now.ask()
    now.clock.now += 1
    await now.ask()

    assert now.server.asked == 6


async def test_readiness_hears_of_it() -> None:
    now = scene(broken=False)
    assert (await now.limits.check(now.facts.append)).status == "pass"

    now.server.broken = True
    for _ in range(5):
        await now.ask()
    assert (await now.limits.check(now.facts.append)).status == "fail"
    now.server.broken = False

    assert (await now.limits.check(now.facts.append)).status == "pass"
    assert await now.ask() == now.server.answer, "without waiting for a probe"
    assert now.facts == [BackendLost("ratelimit", "ConnectionError"), BackendRestored("ratelimit")]


@contextmanager
def with_server(
    monkeypatch: pytest.MonkeyPatch, *limits: Limit, app: ASGIApp = hello, broken: bool = True, **options: Any
) -> Iterator[tuple[Wrapped, Server]]:
    server = Server(broken=broken)
    with monkeypatch.context() as patch:
        patch.setattr(config, "connect", lambda *_, **__: server)
        yield wrap(app, *(limits or (five_a_minute(),)), storage="redis://nowhere", **options), server


async def test_closed_answers_503(monkeypatch: pytest.MonkeyPatch) -> None:
    with with_server(monkeypatch, on_outage="closed") as (wrapped, server):
        refused = await get(wrapped.app)
        server.broken = False
        served = await get(wrapped.app)

    assert (refused.status, served.status) == (503, 200)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["retry-after"] == "1"
    assert served.headers["ratelimit"] == '"ip";r=7;t=9'


async def test_open_admits_uncounted_and_tells_no_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    with with_server(monkeypatch, on_outage="open") as (wrapped, _):
        replies = [await get(wrapped.app) for _ in range(20)]

    assert {reply.status for reply in replies} == {200}
    assert "ratelimit" not in replies[0].headers
    assert wrapped.gauge("ratelimit.degraded") == 1


async def test_local_counts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with with_server(monkeypatch) as (wrapped, _):
        replies = [await get(wrapped.app) for _ in range(6)]

    assert [reply.status for reply in replies] == [200] * 5 + [429]
    assert [type(fact).__name__ for fact in wrapped.facts] == ["BackendLost", "RequestRefused"]


async def test_only_a_server_is_checked() -> None:
    assert "ratelimit:storage" not in wrap(hello).telemetry.checks
    check = wrap(hello, storage="redis://nowhere").telemetry.checks["ratelimit:storage"]
    assert not check.critical


async def test_in_memory_there_is_no_server_to_lose() -> None:
    layer = RateLimit(limits=[five_a_minute()])

    async with layer.open() as limits:
        decision = await limits.decide([(layer._rules[0], "alice")], list[Fact]().append)
        reading = await limits.check(list[Fact]().append)

    assert decision is not None
    assert decision.remaining == 4
    assert reading.status == "pass"


def closed_login(**options: Any) -> Limit:
    return Limit("2/minute", key=by_ip, name="login", paths=["/login"], on_outage="closed", **options)


async def test_each_limit_has_its_own_way_of_doing_without_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = [
        five_a_minute(),
        closed_login(),
        Limit("1/minute", key=by_ip, name="open", on_outage="open"),
    ]

    with with_server(monkeypatch, *limits) as (wrapped, _):
        login = await get(wrapped.app, "/login")
        replies = [await get(wrapped.app) for _ in range(6)]

    assert login.status == 503
    assert [reply.status for reply in replies] == [200] * 5 + [429]
    assert replies[-1].headers["ratelimit"].startswith('"ip";r=0;')


async def test_the_layers_way_is_for_limits_that_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [five_a_minute(on_outage="local"), Limit("1/minute", key=by_ip, name="strict", methods=["POST"])]

    with with_server(monkeypatch, *limits, on_outage="closed") as (wrapped, _):
        read = await get(wrapped.app)
        written = await request(wrapped.app, method="POST")

    assert (read.status, written.status) == (200, 503)


async def test_a_closed_limit_in_shadow_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with with_server(monkeypatch, five_a_minute(), closed_login(shadow=True)) as (wrapped, _):
        assert (await get(wrapped.app, "/login")).status == 200


async def test_a_closed_layer_in_shadow_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with with_server(monkeypatch, on_outage="closed", mode="shadow") as (wrapped, _):
        reply = await get(wrapped.app)

    assert reply.status == 200
    assert wrapped.count("ratelimit.decisions", decision="shadowed") == 1


async def test_nobody_asks_about_who_was_refused_a_moment_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    with with_server(monkeypatch, broken=False) as (wrapped, server):
        server.answer = REFUSAL
        replies = [await get(wrapped.app) for _ in range(50)]
        other = await get(wrapped.app, client="192.0.2.2")

    assert [reply.status for reply in (*replies, other)] == [429] * 51
    assert server.asked == 2
    assert replies[0].headers["retry-after"] == "30"


async def test_a_refusal_on_one_path_is_none_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [five_a_minute(), Limit("1/minute", key=by_ip, name="login", paths=["/login"])]

    with with_server(monkeypatch, *limits, broken=False) as (wrapped, server):
        server.answer = REFUSAL._replace(rule="login")
        await get(wrapped.app, "/login")
        server.answer = Server().answer
        seen = [(await get(wrapped.app, path)).status for path in ("/", "/login", "/")]

    assert seen == [200, 429, 200]


async def test_nobody_asks_about_the_banned_whatever_they_want(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [five_a_minute(), Limit("1/minute", key=by_ip, name="login", paths=["/login"])]

    with with_server(monkeypatch, *limits, broken=False, backoff=Backoff()) as (wrapped, server):
        server.answer = REFUSAL._replace(rule="login", banned=True)
        replies = [await get(wrapped.app, path) for path in ("/login", "/", "/login", "/about")]

    assert {reply.status for reply in replies} == {429}
    assert all(reply.json()["type"].endswith("abnormal-usage-detected") for reply in replies)
    assert server.asked == 1
    assert len({fact.client for fact in wrapped.facts if isinstance(fact, RequestRefused)}) == 1
    assert [type(fact) for fact in wrapped.facts].count(ClientBanned) == 1


async def test_who_is_let_in_again_is_asked_about_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with with_server(monkeypatch, broken=False, backoff=Backoff()) as (wrapped, server):
        async with wrapped.layer.open() as limits:
            server.answer = REFUSAL._replace(banned=True)
            banned = await get(wrapped.app)
            server.answer = Server().answer
            await limits.unban("192.0.2.1")
            served = await get(wrapped.app)

    assert (banned.status, served.status) == (429, 200)
    assert server.told == ["unban ip 192.0.2.1"]


async def test_in_another_worker_the_ban_is_believed_for_five_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with with_server(monkeypatch, broken=False, backoff=Backoff()) as (wrapped, server):
        async with wrapped.layer.open() as limits:
            limits._denied._clock = wrapped.clock
            server.answer = REFUSAL._replace(banned=True)
            await get(wrapped.app)
            server.answer = Server().answer  # somebody else lets it in
            wrapped.clock.now += 4.9
            still = await get(wrapped.app)
            wrapped.clock.now += 0.1
            served = await get(wrapped.app)

    assert (still.status, served.status) == (429, 200)


async def test_who_was_refused_a_moment_ago_takes_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    release = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await release.wait()
        await hello(scope, receive, send)

    with with_server(monkeypatch, app=app, broken=False, shed=LoadShed(max_inflight=1, queue=0)) as (
        wrapped,
        server,
    ):
        server.answer = REFUSAL
        await get(wrapped.app)
        server.answer = Server().answer
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(get, wrapped.app, "/slow", client="192.0.2.2"))
            await anyio.wait_all_tasks_blocked()
            refused = await get(wrapped.app)
            shed = await get(wrapped.app, client="192.0.2.3")
            release.set()

    assert (refused.status, shed.status) == (429, 503)


async def test_in_shadow_nobody_is_refused_for_having_been_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for shed in (None, LoadShed()):
        with with_server(monkeypatch, broken=False, shed=shed, mode="shadow") as (wrapped, server):
            server.answer = REFUSAL
            assert [(await get(wrapped.app)).status for _ in range(5)] == [200] * 5


async def unwelcome(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 401, "headers": []})
    await send({"type": "http.response.body"})


def failures(status: int) -> bool:
    return status == 401


async def test_what_is_counted_by_the_response_is_counted_on_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = five_a_minute(count_when=failures)

    with with_server(monkeypatch, limit, app=unwelcome, broken=False) as (wrapped, server):
        await get(wrapped.app)

    assert server.told == ["count"]


async def test_in_an_outage_it_is_counted_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = five_a_minute(count_when=failures)

    with with_server(monkeypatch, limit, app=unwelcome) as (wrapped, server):
        seen = [(await get(wrapped.app)).status for _ in range(6)]

    assert seen == [401] * 5 + [429]
    assert len(server.told) <= 5


async def test_strikes_are_held_on_the_server_and_in_an_outage_in_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backoff = Backoff(after=0, base=60, jitter=0, strike_on={401})

    with with_server(monkeypatch, app=unwelcome, broken=False, backoff=backoff) as (wrapped, server):
        server.sentence = 8
        await get(wrapped.app)
        server.broken = True
        seen = [(await get(wrapped.app)).status for _ in range(2)]

    assert server.told[0] == "strike ip 192.0.2.1"
    assert seen == [401, 429]
    assert [fact.seconds for fact in wrapped.facts if isinstance(fact, ClientBanned)] == [8]


@ANSWERED
async def test_an_answer_to_any_command_ends_the_outage(counted: Any, struck: Any) -> None:
    now = scene()
    for _ in range(5):
        await now.ask()
    now.clock.now += 0.5
    now.server.broken = False

    await now.limits.answered(counted, struck, now.facts.append)

    assert await now.ask() == now.server.answer
    assert now.facts == [BackendLost("ratelimit", "ConnectionError"), BackendRestored("ratelimit")]


async def test_what_both_counts_and_strikes_is_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = five_a_minute(count_when=failures)
    backoff = Backoff(strike_on={401})

    with with_server(monkeypatch, limit, app=unwelcome, broken=False, backoff=backoff) as (wrapped, server):
        await get(wrapped.app)

    assert server.told == ["count and strike ip 192.0.2.1"]


@ANSWERED
async def test_a_command_that_is_not_answered_is_an_outage_too(counted: Any, struck: Any) -> None:
    now = scene()

    for _ in range(9):
        assert await now.limits.answered(counted, struck, now.facts.append) == 0

    assert len(now.server.told) == 5
    assert now.facts == [BackendLost("ratelimit", "ConnectionError")]


async def test_a_script_hears_that_the_server_is_away() -> None:
    limits = scene().limits

    for call in (
        limits.peek("ip", "alice"),
        limits.reset("ip", "alice"),
        limits.ban("alice", 60),
        limits.unban("alice"),
    ):
        with pytest.raises(StoreUnavailable):
            await call


async def test_a_script_asks_the_server() -> None:
    now = scene(broken=False)

    told = await now.limits.peek("ip", "alice")
    await now.limits.reset("ip", "alice")
    await now.limits.ban("alice", 60, who="user")

    assert told == now.server.answer
    assert now.server.told == ["peek", "reset ip alice", "ban user alice 60"]
