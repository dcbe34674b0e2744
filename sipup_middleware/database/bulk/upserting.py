"""Insert, or update where the key is there: all rows of a batch in one statement, a parameter a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sipup_middleware.database.bulk.asked import Clash
from sipup_middleware.database.bulk.columns import Table
from sipup_middleware.database.bulk.faults import telling_faults
from sipup_middleware.database.bulk.records import Row
from sipup_middleware.database.bulk.statements import listed
from sipup_middleware.database.bulk.writers import Counts, Way, Writer
from sipup_middleware.database.identifiers import quote_identifier
from sipup_middleware.database.lease import Statement

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("Upserting",)

_COUNTED = """
    SELECT count(*) FILTER (WHERE new) AS inserted, count(*) FILTER (WHERE NOT new) AS updated FROM done
"""


class Upserting(Writer):
    """``INSERT ... SELECT FROM unnest(...) ON CONFLICT``; a statement a row where a column is an array."""

    def __init__(
        self, db: Facade, table: Table, columns: Sequence[str], timeout: float | None, clash: Clash
    ) -> None:
        super().__init__(db, table.name, columns, timeout)
        key, update = clash.key, clash.updated(columns)
        described = table.of(columns)
        self._nested = any(column.nested for column in described)
        outcome = f"ON CONFLICT ({listed(key)}) {_action(update)} RETURNING {self._is_new(table, key)} AS new"
        self._a_row = f"{self.insert(self.values)} {outcome}"
        arrays = ", ".join(f"${place}::{column.type}[]" for place, column in enumerate(described, 1))
        self._at_once = (
            f"WITH done AS ({self.insert(f'SELECT * FROM unnest({arrays})')} {outcome}) {_COUNTED}"  # noqa: S608 (quoted)
        )

    def ways(self, rows: Sequence[Row]) -> Sequence[Way]:  # noqa: ARG002 (however many there are)
        """Return the two, or the one that can."""
        return (self._by_rows,) if self._nested else (self._by_columns, self._by_rows)

    async def _by_columns(self, rows: list[Row]) -> Counts:
        with telling_faults():
            found = await self.db.fetchrow(self._at_once, *zip(*rows, strict=True), timeout=self.timeout)
        assert found is not None  # noqa: S101 (it counts)
        return Counts(found["inserted"], found["updated"])

    async def _by_rows(self, rows: list[Row]) -> Counts:
        statement = Statement("fetchmany", self._a_row, (rows,), self.timeout)
        with telling_faults():
            new = [row["new"] for row in await self.db.run(statement)]
        return Counts(inserted := sum(new), len(new) - inserted)

    def _is_new(self, table: Table, key: Sequence[str]) -> str:
        """Return what tells an inserted row from an updated one."""
        if table.plain:
            return "written.xmax = 0"  # an updated row was locked first
        same = " AND ".join(f"before.{name} = written.{name}" for name in map(quote_identifier, key))
        return f"NOT EXISTS (SELECT FROM {self.table} AS before WHERE {same})"


def _action(update: Sequence[str]) -> str:
    if not update:
        return "DO NOTHING"
    return f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in map(quote_identifier, update))}"
