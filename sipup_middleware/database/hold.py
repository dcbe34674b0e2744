"""A connection that one task holds for more than a statement.

The hold's *number* travels in a ContextVar, which child tasks inherit; the connection never does. A task that
inherited the number of an open hold is told so instead of being let in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, cast

from sipup_middleware.bridge import running_loop
from sipup_middleware.database.backend import Session
from sipup_middleware.database.lease import Lease
from sipup_middleware.errors import ConfigurationError, TransactionMisuse

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("ENDED", "INSIDE", "AfterCommit", "Hold", "Holding", "PinnedConnection")

AfterCommit = Callable[[], Awaitable[None]]
"""What is done once a transaction is committed, by the task that committed it; it must not raise."""

INSIDE: ContextVar[tuple[int, ...]] = ContextVar("sipup_database_holds", default=())
"""The numbers of the holds that this task, or the one that started it, is inside of."""

ENDED = "the request has ended, and this transaction was rolled back with it"
_numbers = count(1)


def _this_task() -> object:
    """Return the task that asks, on asyncio or trio."""
    if (loop := running_loop()) is not None:
        return asyncio.current_task(loop)
    import trio  # noqa: PLC0415 (an extra: only a trio host has it)

    return trio.lowlevel.current_task()


class Hold:
    """A lease that one task keeps for more than a statement."""

    __slots__ = ("after_commit", "depth", "ended", "lease", "number", "owner", "wrote")

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.owner = _this_task()
        self.lease: Lease | None = None
        self.wrote = False
        """It ran something that may have changed data."""
        self.depth = 0
        """Transactions open on it: 0 outside, 2 in a savepoint."""
        self.after_commit: list[AfterCommit] = []
        self.ended = False
        """Its request is over, or its entry was cancelled: the connection is no longer ours."""

    def joined(self) -> Lease:
        """Return the connection to the task that holds it; raises `TransactionMisuse` to any other."""
        if self.ended or self.lease is None:
            raise TransactionMisuse(ENDED)
        if self.owner is not _this_task():
            raise TransactionMisuse(
                "this transaction belongs to another task: one started in it (by asyncio.gather, create_task,"
                " a task group, or asyncio.wait_for before Python 3.12) cannot use it; run the statements one"
                " after the other, give them timeout=, or start the task before the transaction"
            )
        return self.lease


class Holding:
    """Enter the hold that the task is in already, else one of its own."""

    __slots__ = ("_facade", "_hold", "_own", "_token")

    def __init__(self, facade: Facade) -> None:
        self._facade = facade
        self._hold: Hold | None = None
        self._own = False
        self._token: Token[tuple[int, ...]] | None = None

    async def _enter(self) -> Hold:
        hold = self._facade.hold()
        self._own = hold is None
        self._hold = hold = hold or Hold()
        pool = self._facade.pool
        try:
            await pool.home.call(self._begin, hold)
        except BaseException as error:
            self._abandon(hold)
            self._facade.note(error)
            raise
        if self._own:
            self._facade.holds[hold.number] = hold
            self._token = INSIDE.set((*INSIDE.get(), hold.number))
        return hold

    async def _begin(self, hold: Hold) -> None:
        """Borrow the connection, on the pool's home."""
        if self._own:
            lease = await self._facade.pool.acquire()
            if hold.ended:  # its caller gave up waiting for us
                self._facade.pool.release(lease)
            else:
                hold.lease = lease

    def _abandon(self, hold: Hold) -> None:
        """Leave nothing lent after a call to the pool's home that was cut off, at whatever point."""
        if self._own and not hold.ended:
            hold.ended = True
            self._facade.pool.home.post(self._drop, hold)

    def _drop(self, hold: Hold) -> None:
        """Give up a connection whose state nobody knows, on the pool's home."""
        lease, hold.lease = hold.lease, None
        if lease is not None:
            self._facade.pool.discard(lease)

    def _leave(self, hold: Hold) -> None:
        """Give the connection back, on the pool's home."""
        lease, hold.lease = hold.lease, None
        if lease is not None:
            self._facade.pool.release(lease)

    def _forget(self, hold: Hold) -> None:
        """Let the task out of the hold, whichever task ends it."""
        if self._own:
            self._facade.holds.pop(hold.number, None)
        if self._token is not None:
            with suppress(ValueError):  # it is ended in another context, by the garbage collector for one
                INSIDE.reset(self._token)


class PinnedConnection(Holding):
    """``async with db.connection() as connection``: the driver's own, for what the facade has no word for."""

    __slots__ = ()

    async def __aenter__(self) -> Session:
        if not self._facade.pool.home.is_here:
            raise ConfigurationError(
                "db.connection() gives an asyncpg connection, which works only on the loop that opened it: an"
                " asyncio host with lifespan; elsewhere use db.fetch, db.execute and db.transaction"
            )
        hold = await self._enter()
        hold.wrote = True
        lease = hold.joined()
        lease.dirty = True
        return cast("Session", lease.connection)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._hold is not None  # noqa: S101 (entered before it is left)
        self._forget(self._hold)
        if self._own:
            self._leave(self._hold)
