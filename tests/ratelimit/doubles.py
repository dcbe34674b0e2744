"""Stand-ins with a script: a clock that is set by hand, a server that fails when told to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp

from sipup_middleware.errors import StoreUnavailable
from sipup_middleware.ratelimit import Decision, Limit, RateLimit, by_ip
from sipup_middleware.ratelimit.policy import Rule
from sipup_middleware.telemetry import Fact, Telemetry

START = 1_700_000_040.0
"""The beginning of a minute."""


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Wrapped:
    """An app behind limits, with what they count, tell and take for the time."""

    app: ASGIApp
    layer: RateLimit
    clock: Clock
    telemetry: Telemetry
    facts: list[Fact]

    def count(self, name: str, **labels: str) -> int:
        return self.telemetry.counter(name, **labels).value

    def gauge(self, name: str) -> float:
        return next(value for _, value in self.telemetry.gauges(name))


def wrap(app: ASGIApp, *limits: Limit, **options: Any) -> Wrapped:
    layer = RateLimit(limits=limits, **options) if limits else RateLimit(**options)
    clock, facts = Clock(), list[Fact]()
    layer._local.clock = clock
    telemetry = Telemetry([facts.append])
    return Wrapped(layer(app, telemetry=telemetry), layer, clock, telemetry, facts)


def rule(rate: tuple[int, int], *, index: int = 0, name: str = "ip", cost: int = 1, **options: Any) -> Rule:
    amount, seconds = rate
    return Rule(index=index, name=name, amount=amount, period=seconds * 1000, cost=cost, **options)


@dataclass
class Server:
    """A limiter that does as it is told, and counts how often it is asked."""

    broken: bool = False
    asked: int = 0
    answer: Decision = field(
        default=Decision(allowed=True, rule="ip", remaining=7, reset=9, reset_at=1_700_000_049)
    )
    sentence: float = 0
    """Seconds of the ban that a strike leads to."""
    told: list[str] = field(default_factory=list)
    """What it was asked besides decisions."""

    async def decide(self, asks: Sequence[tuple[Rule, str]]) -> Decision:
        self.asked += 1
        if self.broken:
            raise StoreUnavailable("ConnectionError")
        return self.answer

    async def count(self, asks: Iterable[tuple[Rule, str]]) -> None:
        await self._answer("count")

    async def peek(self, asks: Iterable[tuple[Rule, str]]) -> list[Decision]:
        await self._answer("peek")
        return [self.answer for _ in asks]

    async def reset(self, rule: Rule, name: str) -> None:
        await self._answer(f"reset {rule.name} {name}")

    async def count_and_strike(self, asks: Iterable[tuple[Rule, str]], who: str, name: str) -> float:
        await self._answer(f"{'count and ' if list(asks) else ''}strike {who} {name}")
        return self.sentence

    async def ban(self, who: str, name: str, seconds: float) -> None:
        await self._answer(f"ban {who} {name} {seconds}")

    async def unban(self, who: str, name: str) -> None:
        await self._answer(f"unban {who} {name}")

    async def _answer(self, command: str) -> None:
        self.told.append(command)
        await self.ping()

    async def ping(self) -> None:
        if self.broken:
            raise StoreUnavailable("ConnectionError")

    async def aclose(self) -> None:
        return


def five_a_minute(**options: Any) -> Limit:
    return Limit("5/minute", key=by_ip, **options)
