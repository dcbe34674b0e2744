"""A server that does not answer, by script: who is asked, who is told, and what clients notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import pytest

from sipup_middleware.breaker import Breaker
from sipup_middleware.ratelimit import RateLimit, config
from sipup_middleware.ratelimit.limits import Limits
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.policy import UNAVAILABLE
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact
from tests.asgi import get, hello
from tests.ratelimit.doubles import Clock, Server, Wrapped, five_a_minute, rule, wrap

ASKS = [(rule((5, 60)), "alice")]


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
        local=MemoryLimiter([ASKS[0][0]], clock=clock),
        remote=server,
        breaker=Breaker(clock=clock),
        on_outage=on_outage,
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
def with_server(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[tuple[Wrapped, Server]]:
    server = Server(broken=True)
    with monkeypatch.context() as patch:
        patch.setattr(config, "connect", lambda *_, **__: server)
        yield wrap(hello, five_a_minute(), storage="redis://nowhere", **options), server


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
    assert not wrap(hello).telemetry.checks
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
