"""Requests from as many clients as it takes, each request timed by itself.

An address is made anew for every request, as a server makes it, so that what a limiter keeps of it is the
limiter's own; and clients ask in an order that has nothing to do with the one in which they came, so that a
state too large for the processor's caches is felt.
"""

from __future__ import annotations

import gc
from asyncio import sleep
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from threading import Timer
from threading import enumerate as threads
from time import perf_counter
from typing import TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.requests import Reply, Requests, one_path
from bench.timing import Effort, Timing, quiet

__all__ = ("FEWEST", "PATH", "Clients", "Spread", "TooSlow", "calls_a_turn", "spreads")

Name = TypeVar("Name")

PATH = "/hello"
FEWEST = 10
"""Requests that even the slowest case is sent in a round."""

_STRIDE = (1 << 31) - 1  # a prime: everybody asks before anybody asks twice


class TooSlow(Exception):
    """Raised when a case would keep all others waiting."""


class Clients:
    """*count* clients of *app*, one request after the other."""

    def __init__(self, app: ASGIApp, count: int, *, request: tuple[Scope, Receive]) -> None:
        self.count = count
        self._app = app
        self._scope, self._receive = request
        self._asked = 0

    @classmethod
    async def of(cls, app: ASGIApp, count: int) -> Clients:
        """Have them ask what `Requests` asks."""
        asked: list[tuple[Scope, Receive]] = []

        async def keep(scope: Scope, receive: Receive, send: Send) -> None:
            asked.append((scope, receive))

        await Requests(keep, paths=one_path(PATH), clients=1)()
        return cls(app, count, request=asked[0])

    async def meet(self, *, patience: float) -> int:
        """Let each ask once, for at most *patience* seconds; return how many did."""
        deadline = perf_counter() + patience
        for number in range(self.count):
            await self._app(self._from(number), self._receive, _discard)
            if not number & 255:
                await sleep(0)
                if perf_counter() > deadline:
                    return number + 1
        return self.count

    async def again(self, number: int) -> Reply:
        """Let the client that came as *number* ask once more."""
        reply = Reply()
        await self._app(self._from(number), self._receive, reply.send)
        return reply

    async def ask(self) -> None:
        """Send one request, from whose turn it is."""
        await self._app(self._next(), self._receive, _discard)

    async def turn(self, requests: int) -> list[float]:
        """Return the seconds of each request, and of what it left for the loop to do before the next."""
        took = []
        for _ in range(requests):
            scope = self._next()
            started = perf_counter()
            await self._app(scope, self._receive, _discard)
            await sleep(0)
            took.append(perf_counter() - started)
        return took

    def _next(self) -> Scope:
        self._asked += 1
        return self._from(self._asked * _STRIDE % self.count)

    def _from(self, number: int) -> Scope:
        host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        return {**self._scope, "headers": self._scope["headers"].copy(), "client": (host, 40000), "state": {}}


@dataclass(frozen=True, slots=True)
class Spread:
    """What most requests take, and what the slowest of a hundred takes: of each round, microseconds."""

    p50: Timing
    p99: Timing


async def spreads(cases: Mapping[Name, Clients], effort: Effort) -> dict[Name, Spread]:
    """Time each case request by request, the cases taking turns within a round."""
    rounds: dict[Name, list[list[float]]] = {name: [] for name in cases}
    with quiet():
        calls = {name: await calls_a_turn(case, effort) for name, case in cases.items()}
        for _ in range(effort.rounds):
            for name, case in cases.items():
                rounds[name].append(sorted(await case.turn(calls[name])))
                _end_timers()
            gc.collect(0)
    return {name: Spread(_timing(each, 0.5), _timing(each, 0.99)) for name, each in rounds.items()}


async def calls_a_turn(case: Clients, effort: Effort) -> int:
    """Return how many requests of *case* fill its turn."""
    await case.turn(FEWEST)  # warm up
    return max(FEWEST, int(effort.turn / median(await case.turn(FEWEST))))


def _timing(rounds: list[list[float]], quantile: float) -> Timing:
    values = [times[int(quantile * len(times))] for times in rounds]
    return Timing(min(values) * 1e6, median(values) * 1e6)


def _end_timers() -> None:
    """Let no case's thread run into the turn of the next."""
    for thread in threads():
        if isinstance(thread, Timer):
            thread.join()


async def _discard(_: Message) -> None:
    pass
