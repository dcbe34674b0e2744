"""The ways to write rows into one table, the fastest first.

Where one fails and does not say which row and column it was, the next may: COPY tells the column of what the
server refused, a statement a row that of what the driver refused. Each writes all rows that it is given or
none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sipup_middleware.database.bulk.faults import telling_faults
from sipup_middleware.database.bulk.records import Row
from sipup_middleware.database.bulk.statements import CopyIn, listed
from sipup_middleware.database.identifiers import Identifier

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("Counts", "Inserting", "Way", "Writer")

_COPY_FROM = 100
"""Rows from which on COPY is faster than statements that travel together."""


class Counts(NamedTuple):
    """Rows written."""

    inserted: int
    updated: int = 0


Way = Callable[[list[Row]], Awaitable[Counts]]
"""Raises `FaultError` where a row is to blame."""


class Writer:
    """How rows get into *table*."""

    def __init__(self, db: Facade, table: Identifier, columns: Sequence[str], timeout: float | None) -> None:
        self.db = db
        self.table = table
        self.columns = columns
        self.timeout = timeout

    def ways(self, rows: Sequence[Row]) -> Sequence[Way]:
        """Return how *rows* may be written."""
        raise NotImplementedError

    def insert(self, source: str) -> str:
        """Return INSERT of *source*; like COPY, it takes values for GENERATED ALWAYS AS IDENTITY."""
        columns = listed(self.columns)
        return f"INSERT INTO {self.table} AS written ({columns}) OVERRIDING SYSTEM VALUE {source}"

    @property
    def values(self) -> str:
        """One row of parameters."""
        return f"VALUES ({', '.join(f'${place}' for place in range(1, len(self.columns) + 1))})"


class Inserting(Writer):
    """COPY for many rows; for few, statements that travel together: one round trip."""

    _copies = True

    def ways(self, rows: Sequence[Row]) -> Sequence[Way]:
        """Return the two, the faster first."""
        if not self._copies:
            return (self._by_statements,)
        if len(rows) < _COPY_FROM:
            return self._by_statements, self._by_copy
        return self._by_copy, self._by_statements

    async def _by_copy(self, rows: list[Row]) -> Counts:
        statement = CopyIn(self.table, self.columns, rows, self.timeout)
        try:
            with telling_faults(lambda: statement.reached):
                await self.db.run(statement)
        finally:
            self._copies = not statement.refused
        return Counts(len(rows))

    async def _by_statements(self, rows: list[Row]) -> Counts:
        with telling_faults():
            await self.db.executemany(self.insert(self.values), rows, timeout=self.timeout)
        return Counts(len(rows))
