"""Connections of one process, lent in the order of asking.

All of it runs on the pool's home. A borrowing that finds a clean idle connection costs no I/O, task or timer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from sipup_middleware.bridge import GRACE, Background, Home, spawn
from sipup_middleware.database.backend import Dial
from sipup_middleware.database.dialling import Dialler
from sipup_middleware.database.lease import Lease
from sipup_middleware.database.upkeep import check_idle, close, give_back
from sipup_middleware.errors import DatabaseUnavailable, PoolTimeout

if TYPE_CHECKING:
    from sipup_middleware.database.config import PoolConfig

__all__ = ("Pool",)

_TRUST = 1.0
"""Seconds of idling after which a connection is asked before it is lent: it may have been black-holed."""

_ANSWER = 0.5
"""Seconds it then has to answer: borrowing a dead one costs less than 1 s, with the dial that follows."""


class Pool:
    """Lends connections, strictly first come, first served. Build it inert; `start` warms it up."""

    def __init__(  # noqa: PLR0913 (what a pool is made of)
        self,
        dial: Dial,
        config: PoolConfig,
        home: Home,
        *,
        database: tuple[str, str, str] = ("", "", ""),
        always_reset: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.home = home
        self.config = config
        self.database = database
        """Host, port and name."""
        self.max = config.size
        self.lent_at = clock()
        """When a connection was last given back: a sign of life."""
        self.clock = clock
        self.always_reset = always_reset
        self.idle: deque[Lease] = deque()
        self.all: set[Lease] = set()
        self.floor = 0
        """Connections kept even if nobody asks."""
        self.closed = False
        self.dialler = Dialler(self, dial)
        self.waiting: OrderedDict[asyncio.Future[Lease], None] = OrderedDict()
        self._tasks: set[Background] = set()
        self._keeper: Background | None = None
        self._all_back = asyncio.Event()

    async def start(self) -> None:
        """Open the first `PoolConfig.min` connections, if the server is there."""
        floor = min(self.config.min, self.max)
        for wanted in (min(1, floor), floor):  # one alone finds out whether the server is there
            await self.dialler.warm_up(wanted)
        self.floor = floor

    async def aclose(self) -> None:
        """Refuse newcomers, wait a moment for what is lent, close everything."""
        self.closed = True
        self.refuse_waiting()
        if len(self.idle) < len(self.all):
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await self._all_back.wait()
        for task in [*self._tasks, *([self._keeper] if self._keeper else [])]:
            await task.aclose()
        await asyncio.gather(*(close(lease) for lease in self.all))
        self.idle.clear()
        self.all.clear()

    async def acquire(self) -> Lease:
        """Borrow a connection; give it to `release` in any case.

        Raises `PoolTimeout` after ``acquire_timeout``, or at once where ``max_waiting`` wait already, and
        `DatabaseUnavailable` while the server is away.
        """
        while self.idle:
            lease = self.idle.pop()
            if lease.connection.is_closed():
                self.discard(lease)
            elif self.clock() - lease.idle_since < _TRUST or await self.answers(lease):
                return lease
        return await self._wait()

    def release(self, lease: Lease) -> None:
        """Take a connection back: clean, it goes to whoever waits longest; else it is seen to first."""
        if lease.dirty or lease.suspect or self.always_reset or lease.connection.is_closed():
            return self._mend(lease)
        now = self.lent_at = self.clock()
        if lease.is_old(now, self.dialler.epoch):
            return self.background(lambda: self.retire(lease), "close")
        return self.lend(lease, now)

    def lend(self, lease: Lease, now: float) -> None:
        """Hand a good connection to the first who waits, or let it idle."""
        while self.waiting:
            waiter, _ = self.waiting.popitem(last=False)
            if not waiter.done():
                return waiter.set_result(lease)
        lease.idle_since = now
        self.idle.append(lease)
        return self._count_back()

    def discard(self, lease: Lease) -> None:
        """Drop a connection that is gone, or in a state that nobody knows."""
        self.dialler.doubtful = True
        lease.connection.terminate()
        self.all.discard(lease)
        self.dialler.grow()
        self._count_back()

    async def retire(self, lease: Lease) -> None:
        """Close a connection that is old, not bad; it counts until it is closed."""
        await close(lease)
        self.all.discard(lease)
        self.dialler.grow()
        self._count_back()

    async def answers(self, lease: Lease) -> bool:
        """Say whether an idle connection, taken from `idle`, is good; drop it if not.

        One that keeps silent speaks for those that idle beside it: the way to the server was cut.
        """
        try:
            await lease.connection.execute("SELECT 1", timeout=_ANSWER)
        except Exception as error:  # noqa: BLE001 (whatever it is, the connection is not good)
            self.discard(lease)
            while isinstance(error, TimeoutError) and self.idle:
                self.discard(self.idle.pop())
            return False
        except BaseException:
            lease.suspect = True
            self.release(lease)
            raise
        return True

    def add(self, lease: Lease) -> None:
        """Take in a connection that was dialled for whoever waits."""
        self.all.add(lease)
        self.lend(lease, self.clock())
        if self._keeper is None and not self.closed:
            self._keeper = spawn(self.home, lambda: check_idle(self), name="sipup-database-keeper")

    def refuse_waiting(self) -> None:
        """Tell all who wait that the server is away."""
        while self.waiting:
            waiter, _ = self.waiting.popitem()
            if not waiter.done():
                waiter.set_exception(self._unavailable())

    def background(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Do *work* beside the requests; it ends with the pool at the latest."""

        async def run() -> None:
            try:
                await work()
            finally:
                self._tasks.discard(task)

        task = spawn(self.home, run, name=f"sipup-database-{name}")
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

    def _mend(self, lease: Lease) -> None:
        if lease.connection.is_closed():
            return self.discard(lease)
        return self.background(lambda: give_back(self, lease), "reset")

    async def _wait(self) -> Lease:
        if self.closed or self.outage is not None:
            raise self._unavailable()
        if len(self.waiting) >= self.config.max_waiting:
            raise self._exhausted("too many wait for a connection")
        waiter: asyncio.Future[Lease] = self.home.loop.create_future()
        self.waiting[waiter] = None
        timer = self.home.loop.call_later(self.config.acquire_timeout, self._expire, waiter)
        self.dialler.grow()
        try:
            return await waiter
        except BaseException:
            self.waiting.pop(waiter, None)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())  # it was handed over while its borrower was being cancelled
            raise
        finally:
            timer.cancel()

    def _expire(self, waiter: asyncio.Future[Lease]) -> None:
        if not waiter.done():
            error = self._exhausted(f"no connection came free within {self.config.acquire_timeout:g} s")
            self.waiting.pop(waiter, None)
            waiter.set_exception(error)

    def _exhausted(self, reason: str) -> PoolTimeout:
        return PoolTimeout(f"{reason} ({', '.join(f'{name} {n:g}' for name, n in self.stats().items())})")

    def _unavailable(self) -> DatabaseUnavailable:
        return DatabaseUnavailable(f"PostgreSQL is out of reach ({self.outage or 'the pool is closed'})")
