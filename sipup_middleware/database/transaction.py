"""A connection held by one task from BEGIN to COMMIT."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, get_args

from anyio import move_on_after

from sipup_middleware.bridge import GRACE
from sipup_middleware.database.backend import Isolation, Unit, translate
from sipup_middleware.database.hold import Hold, Holding
from sipup_middleware.errors import ConfigurationError

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("Options", "Transaction")


@dataclass(frozen=True, slots=True)
class Options:
    """What BEGIN says."""

    isolation: Isolation | None = None
    readonly: bool = False
    deferrable: bool = False

    def __post_init__(self) -> None:
        if self.isolation is not None and self.isolation not in get_args(Isolation):
            raise ConfigurationError(
                f"isolation must be one of {', '.join(get_args(Isolation))}, not {self.isolation!r}"
            )


class Transaction(Holding):
    """``async with db.transaction()``: BEGIN and COMMIT or ROLLBACK; inside another one, a savepoint."""

    __slots__ = ("_options", "_promised", "_unit")

    held_by = "transaction"

    def __init__(self, facade: Facade, options: Options) -> None:
        super().__init__(facade)
        self._options = options
        self._unit: Unit | None = None
        self._promised = 0

    async def __aenter__(self) -> None:
        hold = await self._enter()
        hold.depth += 1
        self._promised = len(hold.after_commit)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hold = self._over()
        if error is not None:
            await self._undo(hold)
        else:
            await self._keep(hold)

    def _over(self) -> Hold:
        hold = self._hold
        assert hold is not None  # noqa: S101 (entered before it is left)
        self._forget(hold)
        hold.depth -= 1
        return hold

    async def _keep(self, hold: Hold) -> None:
        """Commit, then keep what was promised for that."""
        if self._unit is not None:
            await self._commit_or_abandon(hold)
        if hold.depth == 0 and hold.after_commit:
            promised, hold.after_commit = hold.after_commit, []
            for keep in promised:
                await keep()

    async def _commit_or_abandon(self, hold: Hold) -> None:
        try:
            await self._facade.pool.home.call(self._commit, hold)
        except BaseException as failure:
            del hold.after_commit[self._promised :]
            self._abandon(hold)  # a call that was cancelled before it began has given nothing back
            self._facade.meters.rolled_back.add()
            self._facade.note(failure)
            raise
        self._facade.meters.committed.add()
        if self._own and hold.wrote:
            self._facade.wrote()

    async def _undo(self, hold: Hold) -> None:
        """Roll back, even where the task is being cancelled; the error that led here stays the one seen."""
        del hold.after_commit[self._promised :]
        if self._unit is None:
            return
        self._facade.meters.rolled_back.add()
        with move_on_after(GRACE, shield=True), suppress(Exception):
            await self._facade.pool.home.call(self._rollback, hold)
        self._abandon(hold)

    async def _begin(self, hold: Hold) -> None:
        await super()._begin(hold)
        if hold.lease is None:
            return
        connection = hold.lease.connection
        self._unit = connection.transaction(
            isolation=self._options.isolation,
            readonly=self._options.readonly,
            deferrable=self._options.deferrable,
        )
        try:
            async with asyncio.timeout(self._facade.left()):
                await self._unit.start()
        except Exception as error:
            hold.lease.suspect = True
            known = translate(error, closed=connection.is_closed(), uncertain=False)
            if known is error:
                raise
            raise known from None

    async def _commit(self, hold: Hold) -> None:
        assert self._unit is not None  # noqa: S101 (entered before it is left)
        lease = hold.joined()
        try:
            await self._unit.commit()
        except Exception as error:
            known = translate(error, closed=lease.connection.is_closed(), uncertain=self._own and hold.wrote)
            if known is error:
                raise
            raise known from None
        except BaseException:
            lease.suspect = True
            raise
        finally:
            if self._own:
                self._leave(hold)

    async def _rollback(self, hold: Hold) -> None:
        if hold.lease is not None and self._unit is not None:
            await self._unit.rollback()
            if self._own:
                self._leave(hold)
