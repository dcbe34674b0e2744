"""A connection held by one task from BEGIN to COMMIT."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from anyio import move_on_after

from sipup_middleware.bridge import GRACE
from sipup_middleware.database.backend import Isolation, Unit, translate
from sipup_middleware.database.hold import ENDED, Hold, Holding
from sipup_middleware.errors import TransactionMisuse

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("Transaction",)


class Transaction(Holding):
    """``async with db.transaction()``: BEGIN and COMMIT or ROLLBACK; inside another one, a savepoint."""

    __slots__ = ("_deferrable", "_isolation", "_promised", "_readonly", "_unit")

    def __init__(
        self, facade: Facade, isolation: Isolation | None, *, readonly: bool, deferrable: bool
    ) -> None:
        super().__init__(facade)
        self._isolation = isolation
        self._readonly = readonly
        self._deferrable = deferrable
        self._unit: Unit | None = None
        self._promised = 0

    async def __aenter__(self) -> None:
        hold = await self._enter()
        hold.depth += 1
        self._promised = len(hold.after_commit)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hold = self._hold
        assert hold is not None  # noqa: S101 (entered before it is left)
        self._forget(hold)
        hold.depth -= 1
        if error is not None:
            del hold.after_commit[self._promised :]
            return await self._undo(hold)
        try:
            await self._facade.pool.home.call(self._commit, hold)
        except BaseException as failure:
            del hold.after_commit[self._promised :]
            self._abandon(hold)  # a call that was cancelled before it began has given nothing back
            self._facade.meters.rolled_back.add()
            self._facade.note(failure)
            raise
        self._facade.meters.committed.add()
        if hold.depth == 0 and hold.after_commit:
            promised, hold.after_commit = hold.after_commit, []
            for keep in promised:
                await keep()
        return None

    async def _begin(self, hold: Hold) -> None:
        await super()._begin(hold)
        if hold.lease is None:
            return
        connection = hold.lease.connection
        self._unit = connection.transaction(
            isolation=self._isolation, readonly=self._readonly, deferrable=self._deferrable
        )
        try:
            await self._unit.start()
        except Exception as error:
            hold.lease.suspect = True
            known = translate(error, closed=connection.is_closed(), uncertain=False)
            if known is error:
                raise
            raise known from None

    async def _commit(self, hold: Hold) -> None:
        assert self._unit is not None  # noqa: S101 (entered before it is left)
        if hold.lease is None or hold.ended:
            raise TransactionMisuse(ENDED)
        connection = hold.lease.connection
        try:
            await self._unit.commit()
        except Exception as error:
            known = translate(error, closed=connection.is_closed(), uncertain=self._own and hold.wrote)
            if known is error:
                raise
            raise known from None
        except BaseException:
            hold.lease.suspect = True
            raise
        finally:
            if self._own:
                self._leave(hold)

    async def _undo(self, hold: Hold) -> None:
        """Roll back, even where the task is being cancelled; the error that led here stays the one seen."""
        self._facade.meters.rolled_back.add()
        with move_on_after(GRACE, shield=True), suppress(Exception):
            await self._facade.pool.home.call(self._rollback, hold)
        self._abandon(hold)

    async def _rollback(self, hold: Hold) -> None:
        if hold.lease is not None and self._unit is not None:
            await self._unit.rollback()
            if self._own:
                self._leave(hold)
