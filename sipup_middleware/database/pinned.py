"""The driver's own connection, held by one task for what the facade has no word for."""

from __future__ import annotations

from types import TracebackType
from typing import cast

from sipup_middleware.database.backend import Session, is_drivers, translate
from sipup_middleware.database.hold import Holding
from sipup_middleware.errors import ConfigurationError

__all__ = ("PinnedConnection",)


class PinnedConnection(Holding):
    """``async with db.connection() as connection``: it is taken for changed, and reset when it comes back."""

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
