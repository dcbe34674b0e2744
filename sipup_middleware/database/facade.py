"""What a request sees of the database: statements, each on a connection of its own, and transactions.

Nothing is borrowed until something runs, and outside a transaction nothing stays borrowed between two
statements: a handler that streams, sleeps or waits for a client holds no connection.
"""

# ruff: noqa: ASYNC109 (a timeout of ours is the driver's: it cancels on the server too)

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import Any

from sipup_middleware import context
from sipup_middleware.database import bulk
from sipup_middleware.database.attempts import Attempts
from sipup_middleware.database.backend import Isolation, Record, Session
from sipup_middleware.database.hold import AfterCommit, Hold
from sipup_middleware.database.identifiers import Identifier
from sipup_middleware.database.lease import Statement
from sipup_middleware.database.pinned import PinnedConnection
from sipup_middleware.database.runner import Runner
from sipup_middleware.database.stream import Batch, Stream
from sipup_middleware.database.sync import SyncFacade
from sipup_middleware.database.transaction import Options, Transaction
from sipup_middleware.errors import ConfigurationError

__all__ = ("Facade", "current")


class Facade(Runner):
    """Runs SQL. Statements raise `DatabaseUnavailable`, `PoolTimeout`, `QueryTimeout` and `OutcomeUnknown`.

    What the server says against the statement itself (syntax, a constraint) is asyncpg's error. Arguments
    stand for ``$1``, ``$2``, …; *timeout* is in seconds, the wait for a connection included. *replica*: a
    plain read outside a transaction may, or may not, be answered by a replica; None = as the layer says.
    """

    __slots__ = ()

    async def fetch(
        self, sql: str, *args: object, timeout: float | None = None, replica: bool | None = None
    ) -> list[Record]:
        """Return all rows."""
        rows: list[Record] = await self.run(Statement("fetch", sql, args, timeout), replica=replica)
        return rows

    async def fetchrow(
        self, sql: str, *args: object, timeout: float | None = None, replica: bool | None = None
    ) -> Record | None:
        """Return the first row; None where there is none."""
        row: Record | None = await self.run(Statement("fetchrow", sql, args, timeout), replica=replica)
        return row

    async def fetchval(
        self, sql: str, *args: object, timeout: float | None = None, replica: bool | None = None
    ) -> Any:  # noqa: ANN401 (what the column holds)
        """Return the first row's first column; None where there is no row."""
        return await self.run(Statement("fetchval", sql, args, timeout), replica=replica)

    async def execute(self, sql: str, *args: object, timeout: float | None = None) -> str:
        """Return the status, e.g. ``UPDATE 3``; without *args*, *sql* may be several statements."""
        status: str = await self.run(Statement("execute", sql, args, timeout))
        return status

    async def executemany(
        self, sql: str, args: Iterable[Sequence[object]], *, timeout: float | None = None
    ) -> None:
        """Run *sql* once for each of *args*: all of them or none."""
        await self.run(Statement("executemany", sql, (args,), timeout))

    def stream(self, sql: str, *args: object, prefetch: int = 500, timeout: float | None = None) -> Stream:
        """Iterate over rows that need not fit into memory, *prefetch* at a time: ``async for``.

        It has a transaction and a connection of its own from the first row to the last, or until the loop is
        left; inside a transaction it is part of that. *timeout* is for each fetch.
        """
        if prefetch < 1:
            raise ConfigurationError(f"prefetch must be at least 1, not {prefetch}")
        return Stream(self, Batch(sql, args, timeout, prefetch), prefetch)

    async def insert_many(  # noqa: PLR0913 (each is one word on how)
        self,
        table: str | Identifier,
        records: bulk.Records,
        *,
        columns: Sequence[str] | None = None,
        on_error: bulk.OnError = "raise",
        batch: int = bulk.BATCH,
        progress: bulk.Progress | None = None,
        timeout: float | None = None,
    ) -> bulk.BulkResult:
        """Insert mappings or sequences, from any iterable or async one, by COPY; *timeout* is for a batch.

        *columns* is the first mapping's keys, or all of the table's, where it is not given. All are written
        or none, and `RowRefused` names the first that does not fit. ``on_error="collect"`` writes the
        others; outside a transaction each *batch* is then committed by itself.
        """
        asked = bulk.Asked(
            columns=columns, on_error=on_error, batch=batch, progress=progress, timeout=timeout
        )
        return await bulk.insert_many(self, table, records, asked)

    async def upsert_many(  # noqa: PLR0913 (each is one word on how)
        self,
        table: str | Identifier,
        records: bulk.Records,
        *,
        key: str | Sequence[str],
        update: Sequence[str] | None = None,
        on_duplicate: bulk.OnDuplicate = "last",
        columns: Sequence[str] | None = None,
        on_error: bulk.OnError = "raise",
        batch: int = bulk.BATCH,
        progress: bulk.Progress | None = None,
        timeout: float | None = None,
    ) -> bulk.BulkResult:
        """Insert records, or *update* those whose *key*, a unique index, is there; else as `insert_many`.

        *update* names columns; None = all but the key, () = leave what is there. Of records with the same
        key the last, the first, or with "error" only a single one is taken.
        """
        asked = bulk.Asked(
            columns=columns, on_error=on_error, batch=batch, progress=progress, timeout=timeout
        )
        return await bulk.upsert_many(self, table, records, asked, bulk.Clash(key, update, on_duplicate))

    def copy_out(
        self,
        source: str | Identifier,
        *args: object,
        format: bulk.CopyFormat = "csv",  # noqa: A002 (what COPY calls it)
        header: bool = True,
        timeout: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Iterate over the rows of a query or a table as chunks of a file; *timeout* is for all of it.

        *format* is "csv", with a *header* or without, "text" or "binary". It has a connection of its own
        until its end, or until the loop is left; inside a transaction it uses that one's.
        """
        statement = bulk.CopyOut(source, args, format=format, header=header, timeout=timeout)
        return bulk.copied(self, statement)

    def transaction(
        self, isolation: Isolation | None = None, *, readonly: bool = False, deferrable: bool = False
    ) -> AbstractAsyncContextManager[None]:
        """Commit what this task runs inside, all of it; roll it back where the block raises.

        Inside another transaction it is a savepoint. Tasks started inside cannot use it: `TransactionMisuse`.
        """
        return Transaction(self, Options(isolation, readonly, deferrable))

    def attempts(
        self,
        number: int = 3,
        *,
        isolation: Isolation | None = None,
        readonly: bool = False,
        deferrable: bool = False,
    ) -> Attempts:
        """Run a transaction again, whole, where others were in its way: ``async for``, then ``async with``.

        That is a serialization failure or a deadlock; any other error, and the last attempt's, flies.
        """
        return Attempts(self, number, Options(isolation, readonly, deferrable))

    def connection(self) -> AbstractAsyncContextManager[Session]:
        """Hold an asyncpg connection: this task's statements run on it too, and it is reset afterwards.

        On trio, or without lifespan, it is used through the bridge: a listener's callback is called there.
        """
        return PinnedConnection(self)

    def deadline(self, seconds: float | None) -> None:
        """Give what follows in this request *seconds* together, waits for connections included; None = all.

        A statement that cannot end in time raises `QueryTimeout`, or `PoolTimeout` if it got no connection.
        """
        if seconds is not None and seconds <= 0:
            raise ConfigurationError(f"deadline must be above 0 seconds, not {seconds}")
        self.until = None if seconds is None else perf_counter() + seconds

    @property
    def sync(self) -> SyncFacade:
        """The same for ``def`` handlers, which run in a thread: it blocks the thread instead of awaiting."""
        return SyncFacade(self)

    @property
    def database(self) -> tuple[str, str, str]:
        """Host, port and name of the database, by which two layers tell that they use the same one."""
        return self.pool.database

    @property
    def in_transaction(self) -> bool:
        """Whether this task is inside a transaction; raises `TransactionMisuse` in one of another task's."""
        return self._hold_in_transaction() is not None

    def after_commit(self, promise: AfterCommit) -> None:
        """Have *promise* awaited once this task's transaction is committed; forgotten if it is rolled back.

        Part of a savepoint that is rolled back, it is forgotten with that. It must not raise. Raises
        `ConfigurationError` outside a transaction.
        """
        hold = self._hold_in_transaction()
        if hold is None:
            raise ConfigurationError("after_commit belongs inside: async with db.transaction()")
        hold.after_commit.append(promise)

    def _hold_in_transaction(self) -> Hold | None:
        hold = self.hold() if self.holds else None
        return hold if hold is not None and hold.depth > 0 else None


def current() -> Facade:
    """Return the facade of the request being served; fits FastAPI's ``Depends``.

    Raises `ConfigurationError` outside a request, or where no `Database` wraps the app.
    """
    try:
        return context.current().db
    except AttributeError as error:
        raise ConfigurationError(str(error)) from None
