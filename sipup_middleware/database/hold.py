"""A connection that one task holds for more than a statement.

The hold's *number* travels in a ContextVar, which child tasks inherit; the connection never does. A task that
inherited the number of an open hold is told so instead of being let in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING

from sipup_middleware.database.leaks import Holder
from sipup_middleware.database.lease import Lease
from sipup_middleware.database.owner import who_asks
from sipup_middleware.errors import TransactionMisuse

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("ENDED", "INSIDE", "AfterCommit", "Hold", "Holding")

AfterCommit = Callable[[], Awaitable[None]]
"""What is done once a transaction is committed, by the task that committed it; it must not raise."""

INSIDE: ContextVar[tuple[int, ...]] = ContextVar("sipup_database_holds", default=())
"""The numbers of the holds that this task, or the one that started it, is inside of."""

ENDED = "the request has ended, and this transaction was rolled back with it"
_numbers = count(1)


class Hold:
    """A lease that one task keeps for more than a statement."""

    __slots__ = ("after_commit", "began", "begin", "depth", "ended", "lease", "number", "owner", "wrote")

    def __init__(self, begin: Callable[[], Awaitable[None]] | None = None) -> None:
        self.number = next(_numbers)
        self.owner = who_asks()
        self.began = perf_counter()
        self.lease: Lease | None = None
        self.begin = begin
        """What borrows the connection when the first statement needs it; None = it was borrowed at once."""
        self.wrote = False
        """It ran something that may have changed data."""
        self.depth = 0
        """Transactions open on it: 0 outside, 2 in a savepoint."""
        self.after_commit: list[AfterCommit] = []
        self.ended = False
        """Its request is over, or its entry was cancelled: the connection is no longer ours."""

    def check(self) -> None:
        """Let the task in that holds it; raises `TransactionMisuse` to any other."""
        if self.ended:
            raise TransactionMisuse(ENDED)
        if self.owner is not who_asks():
            raise TransactionMisuse(
                "this transaction belongs to another task: one started in it (by asyncio.gather, create_task,"
                " a task group, a thread, or asyncio.wait_for before Python 3.12) cannot use it; run the"
                " statements one after the other, give them timeout=, or start the task before it"
            )

    async def borrowed(self) -> Lease:
        """Return its connection, borrowed now if this is the first use."""
        if self.lease is None and self.begin is not None:
            await self.begin()
        return self.joined()

    def renewed(self) -> Hold:
        """Return the same with another chance to begin: whoever still tries it for this one tries in vain."""
        fresh = Hold(self.begin)
        fresh.number, fresh.owner = self.number, self.owner
        fresh.depth, fresh.after_commit = self.depth, self.after_commit
        return fresh

    def joined(self) -> Lease:
        """Return its connection, once there is one."""
        if self.ended or self.lease is None:
            raise TransactionMisuse(ENDED)
        return self.lease


class Holding:
    """Enter the hold that the task is in already, else one of its own."""

    __slots__ = ("_facade", "_hold", "_holder", "_own", "_token")

    held_by = "connection"

    def __init__(self, facade: Facade) -> None:
        self._facade = facade
        self._hold: Hold | None = None
        self._own = False
        self._holder: Holder | None = None
        self._token: Token[tuple[int, ...]] | None = None

    @property
    def number(self) -> int:
        """Of the hold that was entered."""
        assert self._hold is not None  # noqa: S101 (asked inside)
        return self._hold.number

    async def _enter(self) -> Hold:
        facade = self._facade
        found = facade.hold()
        self._own = found is None
        if found is None:
            facade.refuse_deadlock()
        elif found.begin is not None:
            await found.borrowed()
        hold = self._hold = found or Hold()
        await self._connect(hold)
        if self._own:
            self._register(hold)
        return hold

    async def _connect(self, hold: Hold) -> None:
        """Begin on the pool's home; leave nothing lent where that fails or is given up."""
        if self._own and self._facade.pool.config.leak_after is not None:
            self._holder = Holder(self.held_by, self._facade.scope)
        try:
            await self._facade.pool.home.call(self._begin, hold)
        except BaseException as error:
            self._abandon(hold)
            self._facade.note(error)
            raise

    def _register(self, hold: Hold) -> None:
        """Let this task's statements find the hold."""
        self._facade.holds[hold.number] = hold
        self._token = INSIDE.set((*INSIDE.get(), hold.number))

    async def _begin(self, hold: Hold) -> None:
        """Borrow the connection, on the pool's home."""
        if self._own:
            facade = self._facade
            lease = await facade.pool.acquire(facade.left())
            if hold.ended:  # its caller gave up waiting for us
                facade.pool.release(lease)
            else:
                lease.borrower = self._holder
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
            self._facade.meters.hold.record(perf_counter() - hold.began)
        if self._token is not None:
            with suppress(ValueError):  # it is ended in another context: by a send, or the garbage collector
                INSIDE.reset(self._token)
            self._token = None
