"""When a connection is opened, and what is done while the server is away.

Who waits has a connection dialled, up to the pool's size. Once the server is lost one prober dials and
everyone else is told at once; what was dialled before the loss is not used after it.

Connections opened side by side are renewed one after the other: the times at which they expire are laid out
by the golden ratio, which leaves no two of them close together, however many there are.
"""

from __future__ import annotations

import asyncio
from random import random
from typing import TYPE_CHECKING

from sipup_middleware.database.backend import Connection, Dial, said_no
from sipup_middleware.database.budget import weigh
from sipup_middleware.database.lease import Lease

if TYPE_CHECKING:
    from sipup_middleware.database.pool import Pool

__all__ = ("Dialler",)

_DEADLINE = 5.0
"""Seconds a dial may take."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
"""Seconds between two attempts of the prober: the server is found within the longest of them."""

_GOLDEN = 0.618034
_SPREAD = 0.25
"""The part of a lifetime over which renewals are laid out."""

_FIRST_PATIENCE = 1.0
"""Seconds that the prober's first dial may take; doubled each time."""


class Dialler:
    """Opens the connections of one pool."""

    def __init__(self, pool: Pool, dial: Dial, *, measured: bool) -> None:
        self.outage: str | None = None
        self.epoch = 0
        """Outages so far."""
        self.doubtful = False
        """A connection was lost: one dial alone finds out whether the server was."""
        self._pool = pool
        self._dial = dial
        self._dialling = 0
        self._unmeasured = measured
        """The server has yet to be asked how many connections it has."""
        self._phase = random()  # noqa: S311 (tells workers apart, guards nothing)

    async def warm_up(self, wanted: int) -> None:
        """Open what is missing to *wanted* connections, side by side; not while the server is away."""
        missing = 0 if self.outage else max(0, wanted - len(self._pool.all) - self._dialling)
        self._dialling += missing
        await asyncio.gather(*(self._open() for _ in range(missing)))

    def grow(self) -> None:
        """Dial in the background for those who wait, and for the floor."""
        pool = self._pool
        if pool.closed or self.outage is not None:
            return
        wanted = max(len(pool.waiting), pool.floor - len(pool.all))
        room = pool.max - len(pool.all)
        for _ in range(min(wanted, room, 1 if self.doubtful else room) - self._dialling):
            self._dialling += 1
            pool.background(self._open, "dial")

    async def _open(self) -> None:
        epoch = self.epoch
        try:
            connection = await self._dial(_DEADLINE)
        except Exception as error:  # noqa: BLE001 (whatever keeps us from the server is told to who waits)
            self._dialling -= 1
            self._failed(error, epoch)
        except BaseException:
            self._dialling -= 1
            raise
        else:
            await self._opened(connection)

    async def _opened(self, connection: Connection) -> None:
        try:
            if self._unmeasured:
                self._unmeasured = False
                await weigh(self._pool, connection)
        finally:
            self._dialling -= 1
            self.doubtful = False
            self._pool.add(Lease(connection, expires=self._expires(), pooled=self._pool.pooled))
            self.grow()

    def _expires(self) -> float:
        self._phase = (self._phase + _GOLDEN) % 1
        return self._pool.clock() + self._pool.config.max_lifetime * (1 - _SPREAD * self._phase)

    def _failed(self, error: Exception, epoch: int) -> None:
        pool = self._pool
        if pool.closed or self.outage is not None:
            return
        if epoch != self.epoch:  # the server has come back since this dial began
            self.grow()
        elif pool.all and said_no(error):  # those we have still serve
            pool.home.loop.call_later(_LONGEST_PAUSE, self.grow)
        else:
            self.outage = type(error).__name__
            pool.refuse_waiting()
            self._dialling += 1
            pool.background(self._probe, "prober")

    async def _probe(self) -> None:
        try:
            connection = await self._dial_until_it_answers()
        except BaseException:
            self._dialling -= 1
            raise
        self.outage = None
        self.epoch += 1
        for lease in self._pool.all:  # they are of before the outage
            lease.expires = 0.0
        while self._pool.idle:
            self._pool.discard(self._pool.idle.pop())
        await self._opened(connection)

    async def _dial_until_it_answers(self) -> Connection:
        pause, patience = _FIRST_PAUSE, _FIRST_PATIENCE
        while True:
            await asyncio.sleep(pause)
            try:
                return await self._dial(patience)
            except Exception:  # noqa: BLE001 (it is still away, however it says so)
                pause, patience = min(2 * pause, _LONGEST_PAUSE), min(2 * patience, _DEADLINE)
