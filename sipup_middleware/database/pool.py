"""Connections of one process, lent in the order of asking.

All of it runs on the pool's home. A borrowing that finds a clean idle connection costs no I/O, task or timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from sipup_middleware.bridge import GRACE, Background, Home, spawn
from sipup_middleware.database.backend import Dial
from sipup_middleware.database.dialling import Dialler
from sipup_middleware.database.lease import Lease
from sipup_middleware.database.line import Line
from sipup_middleware.database.tally import Tally
from sipup_middleware.database.upkeep import ask, begin_upkeep, close, give_back
from sipup_middleware.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from sipup_middleware.database.config import PoolConfig
    from sipup_middleware.database.replicas import Replicas

__all__ = ("Pool",)

_FRESH = 0.01
"""Seconds of idling within which a connection is lent without a look at its socket."""

_TRUST = 1.0
"""Seconds of idling after which a connection is asked before it is lent: it may have been black-holed."""

_TURNS = 2
"""Turns of the loop that a statement takes: one to read the answer, one to wake who asked."""

_MOST_WEIGHT = 1 / 16
"""What one borrowing counts for in the average, at most: all that come back at one moment count for one."""


class Pool:
    """Lends connections, strictly first come, first served. Build it inert; `start` warms it up."""

    def __init__(  # noqa: PLR0913 (what a pool is made of)
        self,
        dial: Dial,
        config: PoolConfig,
        home: Home,
        *,
        name: str = "database",
        database: tuple[str, str, str] = ("", "", ""),
        always_reset: bool = False,
        pooled: bool = False,
        measured: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.home = home
        self.config = config
        self.name = name
        """What facts call it."""
        self.database = database
        """Host, port and name."""
        self.max = config.size
        self.lent_at = clock()
        """When a connection was last given back: a sign of life."""
        self.hold = 0.0
        """Seconds that a borrowing lasts, on the average of the last ones."""
        self.delay = 0.0
        """Seconds of a borrowing that are the loop's own, by the last one that was waited for: a crowd that
        comes all at once keeps the loop busy for a while, and says nothing of the statements."""
        self.clock = clock
        self.always_reset = always_reset
        self.pooled = pooled
        """There is a transaction pooler between us and the server."""
        self.idle: deque[Lease] = deque()
        self.all: set[Lease] = set()
        self.mending = 0
        """Connections that came back and are seen to before they are lent on."""
        self.floor = 0
        """Connections kept even if nobody asks."""
        self.closed = False
        self.tally = Tally()
        self.replicas: Replicas | None = None
        """The standbys of its server, once they are attached."""
        self.line = Line(self)
        self.waiting = self.line.waiting
        self.dialler = Dialler(self, dial, measured=measured)
        self._longest = config.acquire_timeout
        self._tasks: set[Background] = set()
        self._keepers: list[Background] = []
        self._all_back = asyncio.Event()

    async def start(self) -> None:
        """Open the first `PoolConfig.min` connections, if the server is there."""
        floor = min(self.config.min, self.max)
        for wanted in (min(1, floor), floor):  # one alone finds out whether the server is there
            await self.dialler.warm_up(wanted)
        self.floor = floor
        if self.replicas is not None:
            await self.replicas.start()

    async def aclose(self) -> None:
        """Refuse newcomers, wait a moment for what is lent, close everything."""
        self.closed = True
        self.refuse_waiting()
        if self.replicas is not None:
            await self.replicas.aclose()
        if len(self.idle) < len(self.all):
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await self._all_back.wait()
        self.line.close()
        await asyncio.gather(*(task.aclose() for task in (*self._tasks, *self._keepers)))
        await asyncio.gather(*(close(lease) for lease in self.all))
        self.idle.clear()
        self.all.clear()

    async def acquire(self, patience: float | None = None) -> Lease:
        """Borrow a connection; give it to `release` in any case.

        Raises `PoolTimeout` after ``acquire_timeout``, or *patience* where that is shorter, and at once where
        the wait would be longer or ``max_waiting`` wait already; `DatabaseUnavailable` while the server is
        away.
        """
        while self.idle:
            lease = self.idle.pop()
            lease.since = now = self.clock()
            if lease.connection.is_closed():
                self.discard(lease)
            elif now - lease.idle_since < _FRESH or await self._is_good(lease, now):
                return lease
        return await self._wait(patience)

    def release(self, lease: Lease) -> None:
        """Take a connection back: clean, it goes to whoever waits longest; else it is seen to first."""
        now = self.clock()
        weight = now - self.lent_at
        if weight > _MOST_WEIGHT:  # noqa: PLR1730 (min() would double the cost of what stands here)
            weight = _MOST_WEIGHT
        held = now - lease.since - self.delay
        if held > self._longest:  # noqa: PLR1730 (as above)
            held = self._longest
        self.hold += ((held if held > 0 else 0.0) - self.hold) * weight
        self.lent_at = now
        lease.borrower = None
        if lease.dirty or lease.suspect or lease.expires <= now or self.always_reset:
            return self._see_to(lease)
        if self.waiting or self.closed:
            return self.lend(lease, now)
        lease.idle_since = now
        return self.idle.append(lease)

    def lend(self, lease: Lease, now: float) -> None:
        """Hand a good connection to the first who waits, or let it idle."""
        if lease.connection.is_closed():
            return self.discard(lease)
        if (waiter := self.line.first()) is not None:
            lease.since = now
            return waiter.set_result(lease)
        lease.idle_since = now
        self.idle.append(lease)
        return self._count_back()

    def discard(self, lease: Lease) -> None:
        """Drop a connection that is gone, or in a state that nobody knows."""
        self.dialler.doubtful = True
        lease.expires = 0.0  # who still has it may give it back
        lease.connection.terminate()
        if lease in self.all:
            self.all.discard(lease)
            self.tally.count("dropped")
        self.dialler.grow()
        self._count_back()

    async def retire(self, lease: Lease) -> None:
        """Close a connection that is old, not bad; it counts until it is closed."""
        await close(lease)
        self.all.discard(lease)
        self.tally.count("recycled")
        self.dialler.grow()
        self._count_back()

    def add(self, lease: Lease) -> None:
        """Take in a connection that was dialled for whoever waits."""
        self.all.add(lease)
        self.tally.count("dialled")
        self.lend(lease, self.clock())
        if not self._keepers and not self.closed:
            self._keepers = begin_upkeep(self)

    def refuse_waiting(self) -> None:
        """Tell all who wait that the server is away."""
        self.line.dismiss(self._unavailable)

    def background(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Do *work* beside the requests; it ends with the pool at the latest."""

        async def run() -> None:
            try:
                await work()
            finally:
                self._tasks.discard(task)

        task = spawn(self.home, run, name=f"sipup-{self.name}-{name}")
        self._tasks.add(task)

    @property
    def outage(self) -> str | None:
        """The kind of error that keeps us from the server; None = it answers."""
        return self.dialler.outage

    def stats(self) -> dict[str, float]:
        """Count connections and who waits for one; cheap, from any thread."""
        known, idle = len(self.all), len(self.idle)
        return {"in_use": known - idle, "idle": idle, "max": self.max, "waiting": len(self.waiting)}

    def _count_back(self) -> None:
        if self.closed and len(self.idle) >= len(self.all):
            self._all_back.set()

    def _see_to(self, lease: Lease) -> None:
        if lease.connection.is_closed():
            return self.discard(lease)
        self.mending += 1
        return self.background(lambda: give_back(self, lease), "mend")

    async def _is_good(self, lease: Lease, now: float) -> bool:
        """Say whether one that has idled is still there, as cheaply as its time allows."""
        trusted = now - lease.idle_since < _TRUST and lease.connection.is_quiet()
        return trusted or await ask(self, lease)

    async def _wait(self, patience: float | None) -> Lease:
        if self.closed or self.outage is not None:
            raise self._unavailable()
        waiter = self.line.join(patience)
        self.dialler.grow()
        try:
            lease = await waiter
        except BaseException:
            self.line.leave(waiter)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())  # it was handed over while its borrower was being cancelled
            raise
        now = self.clock()
        self.delay = _TURNS * (now - lease.since)  # it was handed over one turn of the loop ago
        lease.since = now
        return lease

    def _unavailable(self) -> DatabaseUnavailable:
        return DatabaseUnavailable(f"PostgreSQL is out of reach ({self.outage or 'the pool is closed'})")
