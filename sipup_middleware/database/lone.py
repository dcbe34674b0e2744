"""Transactions that no block ends: a stream's, and a request's."""

from __future__ import annotations

import asyncio

from sipup_middleware.bridge import GRACE
from sipup_middleware.database.hold import Hold
from sipup_middleware.database.transaction import Transaction

__all__ = ("LoneTransaction", "RequestTransaction")


class LoneTransaction(Transaction):
    """A transaction that no task is inside of: whoever has it runs its statements, and ends it."""

    __slots__ = ()

    held_by = "stream"

    async def begin(self) -> Hold:
        """Send BEGIN on a connection of its own."""
        self._facade.refuse_deadlock()
        hold = self._make(Hold())
        await self._connect(hold)
        return hold

    async def end(self, *, commit: bool) -> None:
        """Commit or roll back, the first time this is called; nothing is sent where no statement ran."""
        if self._hold is None or self._hold.depth == 0:
            return
        hold = self._over()
        await (self._keep(hold) if commit else self._undo(hold))

    def leave_behind(self) -> None:
        """Roll back beside the task, which cannot wait for it."""
        hold, pool = self._over(), self._facade.pool
        pool.home.post(pool.background, lambda: self._end_late(hold), "rollback")

    async def _end_late(self, hold: Hold) -> None:
        try:
            async with asyncio.timeout(GRACE):
                await self._rollback(hold)
        finally:
            self._drop(hold)  # where it could not be rolled back

    def _make(self, hold: Hold) -> Hold:
        self._own = True
        self._hold = hold
        hold.depth = 1
        return hold


class RequestTransaction(LoneTransaction):
    """The transaction of a whole request: BEGIN at its first statement; whoever sends the answer ends it."""

    __slots__ = ()

    held_by = "@transactional"

    def open(self) -> None:
        """Have what this task runs from now on belong to it; nothing is sent yet."""
        self._register(self._make(Hold(begin=self._connect_late)))

    async def _connect_late(self) -> None:
        hold = self._hold
        assert hold is not None  # noqa: S101 (opened before it is used)
        try:
            await self._connect(hold)
        except BaseException:
            self._hold = self._facade.holds[hold.number] = hold.renewed()
            self._unit = None
            raise
        hold.begin = None
