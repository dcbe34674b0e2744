"""What a request sees of the database: statements, each on a connection of its own, and transactions.

Nothing is borrowed until something runs, and outside a transaction nothing stays borrowed between two
statements: a handler that streams, sleeps or waits for a client holds no connection.
"""

# ruff: noqa: ASYNC109 (a timeout of ours is the driver's: it cancels on the server too)

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import Any, get_args

from sipup_middleware.context import Context
from sipup_middleware.database.backend import Isolation, Record, Session
from sipup_middleware.database.hold import INSIDE, AfterCommit, Hold, PinnedConnection
from sipup_middleware.database.lease import Lease, Statement
from sipup_middleware.database.meters import Meters
from sipup_middleware.database.pool import Pool
from sipup_middleware.database.transaction import Transaction
from sipup_middleware.errors import OUTAGES, ConfigurationError, PoolTimeout

__all__ = ("Facade",)


class Facade:
    """Runs SQL. Statements raise `DatabaseUnavailable`, `PoolTimeout`, `QueryTimeout` and `OutcomeUnknown`.

    What the server says against the statement itself (syntax, a constraint) is asyncpg's error. Arguments
    stand for ``$1``, ``$2``, …; *timeout* is in seconds, from the moment the statement has its connection.
    """

    __slots__ = ("_context", "_pool", "_pool_of", "holds", "meters")

    def __init__(self, pool_of: Callable[[], Pool], meters: Meters, context: Context | None = None) -> None:
        self._pool_of = pool_of
        self._pool: Pool | None = None
        self._context = context
        self.meters = meters
        self.holds: dict[int, Hold] = {}

    async def fetch(self, sql: str, *args: object, timeout: float | None = None) -> list[Record]:
        """Return all rows."""
        rows: list[Record] = await self._run(Statement("fetch", sql, args, timeout))
        return rows

    async def fetchrow(self, sql: str, *args: object, timeout: float | None = None) -> Record | None:
        """Return the first row; None where there is none."""
        row: Record | None = await self._run(Statement("fetchrow", sql, args, timeout))
        return row

    async def fetchval(self, sql: str, *args: object, timeout: float | None = None) -> Any:  # noqa: ANN401 (any)
        """Return the first row's first column; None where there is no row."""
        return await self._run(Statement("fetchval", sql, args, timeout))

    async def execute(self, sql: str, *args: object, timeout: float | None = None) -> str:
        """Return the status, e.g. ``UPDATE 3``; without *args*, *sql* may be several statements."""
        status: str = await self._run(Statement("execute", sql, args, timeout))
        return status

    async def executemany(
        self,
        sql: str,
        args: Iterable[Sequence[object]],
        *,
        timeout: float | None = None,
    ) -> None:
        """Run *sql* once for each of *args*: all of them or none."""
        await self._run(Statement("executemany", sql, (args,), timeout))

    def transaction(
        self, isolation: Isolation | None = None, *, readonly: bool = False, deferrable: bool = False
    ) -> AbstractAsyncContextManager[None]:
        """Commit what this task runs inside, all of it; roll it back where the block raises.

        Inside another transaction it is a savepoint. Tasks started inside cannot use it: `TransactionMisuse`.
        """
        if isolation is not None and isolation not in get_args(Isolation):
            raise ConfigurationError(
                f"isolation must be one of {', '.join(get_args(Isolation))}, not {isolation!r}"
            )
        return Transaction(self, isolation, readonly=readonly, deferrable=deferrable)

    def connection(self) -> AbstractAsyncContextManager[Session]:
        """Hold an asyncpg connection: this task's statements run on it too, and it is reset afterwards."""
        return PinnedConnection(self)

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

    @property
    def pool(self) -> Pool:
        """Where its connections come from; opened at the first use."""
        if self._pool is None:
            self._pool = self._pool_of()
        return self._pool

    def hold(self) -> Hold | None:
        """Return the hold that this task is in; raises `TransactionMisuse` where it is another task's."""
        for number in INSIDE.get():
            if (hold := self.holds.get(number)) is not None:
                hold.joined()
                return hold
        return None

    def note(self, error: BaseException) -> None:
        """Let the layers around this request know of an outage that it met."""
        if isinstance(error, PoolTimeout):
            self.meters.pool_timeouts.add()
        if isinstance(error, OUTAGES):
            if self._context is not None:
                self._context.failure = error
            self.meters.look(self.pool)

    def end(self) -> None:
        """Take back what tasks that outlive their request still hold; their transactions are rolled back."""
        for hold in self.holds.values():
            hold.ended = True
            if hold.lease is not None:
                self.pool.home.post(self.pool.discard, hold.lease)

    async def _run(self, statement: Statement) -> Any:  # noqa: ANN401 (whatever the statement returns)
        pool = self._pool or self.pool
        hold = self.hold() if self.holds else None
        began = perf_counter()
        try:
            if hold is None:
                result = await pool.home.call(statement.on_pool, pool)
            else:
                hold.wrote = hold.wrote or not statement.traits.reads
                result = await pool.home.call(_joined, statement, hold.joined())
        except Exception as error:
            self.meters.error.add()
            self.note(error)
            raise
        self.meters.ok.add()
        self.meters.acquire.record(statement.waited)
        self.meters.query.record(perf_counter() - began - statement.waited)
        self.meters.look(pool)
        return result

    def __repr__(self) -> str:
        return f"<Facade of {'a request' if self._context else 'an open database'}, {len(self.holds)} held>"


async def _joined(statement: Statement, lease: Lease) -> Any:  # noqa: ANN401 (whatever the statement returns)
    return await statement.on(lease)
