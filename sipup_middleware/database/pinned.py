"""The driver's own connection, held by one task for what the facade has no word for."""

from __future__ import annotations

from types import TracebackType
from typing import cast

from sipup_middleware.database.backend import Session, is_drivers, translate
from sipup_middleware.database.far import Far
from sipup_middleware.database.hold import Holding

__all__ = ("PinnedConnection",)


class PinnedConnection(Holding):
    """``async with db.connection() as connection``: it is taken for changed, and reset when it comes back."""

    __slots__ = ()

    async def __aenter__(self) -> Session:
        hold = await self._enter()
        hold.wrote = True
        lease = hold.joined()
        lease.dirty = True
        home = self._facade.pool.home
        return cast("Session", lease.connection if home.is_here else Far(lease.connection, home))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hold = self._hold
        assert hold is not None  # noqa: S101 (entered before it is left)
        self._forget(hold)
        lost = hold.lease is None or hold.lease.connection.is_closed()
        if self._own:
            self._leave(hold)
        if lost and is_drivers(error):
            known = translate(error, closed=True, uncertain=True)
            self._facade.note(known)
            raise known from None
