"""Rows that need not fit into memory: a cursor of the server's, read a batch at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sipup_middleware.database.backend import Connection, Cursor, Record
from sipup_middleware.database.hold import Hold
from sipup_middleware.database.lease import Statement
from sipup_middleware.database.lone import LoneTransaction
from sipup_middleware.database.owner import who_asks
from sipup_middleware.database.transaction import Options
from sipup_middleware.errors import ConfigurationError

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("Batch", "Stream")


class Batch(Statement):
    """The next rows of a cursor, which the first of them opens."""

    __slots__ = ("_cursor", "_rows")

    def __init__(self, sql: str, args: tuple[Any, ...], timeout: float | None, rows: int) -> None:
        super().__init__("cursor", sql, args, timeout)
        self._rows = rows
        self._cursor: Cursor | None = None

    def send(self, connection: Connection) -> Awaitable[list[Record]]:
        """Ask for the next rows; fewer than asked for are the last."""
        return self._fetch(connection)

    async def _fetch(self, connection: Connection) -> list[Record]:
        if self._cursor is None:
            self._cursor = await connection.cursor(self.sql, *self.args, timeout=self.timeout)
        return await self._cursor.fetch(self._rows, timeout=self.timeout)


class Stream:
    """``async for row in db.stream(...)``; ``async with`` around it waits for its end where the loop is left.

    It begins at the first row. Outside a transaction it has one of its own, so that what it reads is of one
    moment: committed with the last rows, rolled back where the loop is left before.
    """

    __slots__ = ("_batch", "_facade", "_hold", "_last", "_own", "_owner", "_prefetch", "_rows")

    def __init__(self, facade: Facade, batch: Batch, prefetch: int) -> None:
        self._facade = facade
        self._batch = batch
        self._prefetch = prefetch
        self._rows: deque[Record] = deque()
        self._last = False
        self._hold: Hold | None = None
        self._own: LoneTransaction | None = None
        self._owner: object = None

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Record:
        if not self._rows:
            self._rows.extend(await self.batch())
            if not self._rows:
                raise StopAsyncIteration
        return self._rows.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if (own := self._ended()) is not None:
            own.leave_behind()

    async def batch(self) -> list[Record]:
        """Return the next rows, at most ``prefetch``; none = it is over."""
        if self._last:
            return []
        try:
            hold = self._hold or await self._begin()
            rows: list[Record] = await self._facade.run(self._batch, within=hold)
        except BaseException:
            await self.aclose()
            raise
        self._last = len(rows) < self._prefetch
        if self._last and (own := self._ended()) is not None:
            await own.end(commit=True)
        return rows

    async def aclose(self) -> None:
        """Give up what is unread, and the connection."""
        self._last = True
        self._rows.clear()
        if (own := self._ended()) is not None:
            await own.end(commit=False)

    async def _begin(self) -> Hold:
        facade = self._facade
        hold = facade.hold() if facade.holds else None
        if hold is None:
            own = LoneTransaction(facade, Options())
            hold = await own.begin()
            self._own, self._owner = own, who_asks()
            facade.streaming.append(self._owner)
        elif hold.depth == 0:
            raise ConfigurationError("db.stream() inside db.connection() needs a db.transaction() around it")
        else:
            await hold.borrowed()
        self._hold = hold
        return hold

    def _ended(self) -> LoneTransaction | None:
        """Return the transaction of its own that is to be ended, once."""
        own, self._own = self._own, None
        if own is not None:
            self._facade.streaming.remove(self._owner)
        return own
