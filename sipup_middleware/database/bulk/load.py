"""One bulk write from its first record to its last: batches, transactions, and what becomes of a bad row.

A batch that fails is split until the row is found that is to blame; each part is tried in a savepoint, so
that a transaction around it stays usable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from sipup_middleware.database.bulk.asked import Asked
from sipup_middleware.database.bulk.columns import Column, Table, column_of, read_table
from sipup_middleware.database.bulk.duplicates import Duplicates
from sipup_middleware.database.bulk.faults import Fault, FaultError
from sipup_middleware.database.bulk.records import Batch, MisfitError, Row, Shape
from sipup_middleware.database.bulk.results import BulkResult, FailedRow
from sipup_middleware.database.bulk.writers import Counts, Way, Writer
from sipup_middleware.errors import RowRefused

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("Load",)


class Load:
    """What one bulk write has done so far."""

    def __init__(
        self,
        db: Facade,
        writer: Writer,
        asked: Asked,
        *,
        total: int | None,
        duplicates: Duplicates | None = None,
    ) -> None:
        self._db = db
        self._writer = writer
        self._asked = asked
        self._shape = Shape(writer.columns, exact=asked.columns is None)
        self._total = total
        self._duplicates = duplicates
        self._collects = asked.on_error == "collect"
        self._counts = Counts(0)
        self._failed: list[FailedRow] = []
        self._described: Table | None = None

    def result(self) -> BulkResult:
        """Return what became of all."""
        failed = tuple(sorted(self._failed, key=lambda row: row.index))
        dropped = self._duplicates.dropped if self._duplicates else 0
        return BulkResult(*self._counts, duplicates=dropped, failed=failed)

    async def run(self, first: list[Any], read: AsyncIterator[list[Any]]) -> None:
        """Write the records *first*, then all that *read* yields."""
        chunk = await anext(read, None)
        if chunk is None:
            await self.alone(self.batch(0, first))
            return self.report(len(first))
        async with self.whole():
            await self.store(self.batch(0, first))
            done = len(first)
            self.report(done)
            while chunk is not None:
                await self.store(self.batch(done, chunk))
                done += len(chunk)
                self.report(done)
                chunk = await anext(read, None)
        return None

    def report(self, done: int) -> None:
        """Tell how far it is."""
        if self._asked.progress is not None:
            self._asked.progress(done, self._total)

    def refuse(self, index: int, column: str | None, reason: str) -> None:
        """Note a record that is not written; raises `RowRefused` unless they are collected."""
        if not self._collects:
            raise RowRefused(index, column, reason)
        self._failed.append(FailedRow(index, column, reason))

    def batch(self, first: int, records: list[Any]) -> Batch:
        """Return the rows to write of *records*, whose first has the number *first*."""
        rows = self._shape.rows(records)
        if rows is None:
            batch = self._one_by_one(first, records)
        else:
            batch = Batch(range(first, first + len(rows)), rows)
        return batch if self._duplicates is None else self._duplicates.without(batch, self.refuse)

    def _one_by_one(self, first: int, records: list[Any]) -> Batch:
        numbers: list[int] = []
        rows: list[Row] = []
        for number, record in enumerate(records, first):
            try:
                rows.append(self._shape.row(record))
            except MisfitError as misfit:
                self.refuse(number, misfit.column, misfit.reason)
            else:
                numbers.append(number)
        return Batch(numbers, rows)

    async def alone(self, batch: Batch) -> None:
        """Write a batch that is the only one: all or nothing by itself, so it needs no transaction."""
        if batch.rows and not self._collects and not self._db.in_transaction:
            way = self._writer.ways(batch.rows)[0]
            if await self._attempt(way, batch.rows) is None:
                return
        async with self.whole():
            await self.store(batch)

    def whole(self) -> AbstractAsyncContextManager[None]:
        """Make the write one transaction, if it is to be all or nothing and is inside of none."""
        if self._collects or self._db.in_transaction:
            return nullcontext()
        return self._db.transaction()

    async def store(self, batch: Batch) -> None:
        """Write *batch* but for the rows that are to blame for its failing."""
        parts = [batch]
        while parts:
            part = parts.pop()
            if part.rows and (fault := await self._try(part.rows)) is not None:
                parts.extend(await self._split(part, fault))

    async def _try(self, rows: list[Row]) -> Fault | None:
        """Write *rows* in the first way that can; return what is known of the failure where none can."""
        faults: list[Fault] = []
        for way in self._writer.ways(rows):
            fault = await self._attempt(way, rows)
            if fault is None:
                return None
            faults.append(fault)
            if fault.told:
                break
        return max(faults, key=lambda fault: (fault.row is not None, fault.located))

    async def _attempt(self, way: Way, rows: list[Row]) -> Fault | None:
        savepoint = self._db.transaction() if self._db.in_transaction else nullcontext()
        try:
            async with savepoint:
                counts = await way(rows)
        except FaultError as error:
            return error.fault
        inserted, updated = self._counts
        self._counts = Counts(inserted + counts.inserted, updated + counts.updated)
        return None

    async def _split(self, part: Batch, fault: Fault) -> list[Batch]:
        """Return what is left to try, the last first; a row that is found out is refused."""
        size = len(part.rows)
        row = 0 if size == 1 else fault.row
        if row is None or row >= size:
            return [part.part(size // 2, size), part.part(0, size // 2)]
        rest = [part.part(row + 1, size), part.part(0, row)]
        if size > 1 and not fault.located:
            return [rest[0], part.part(row, row + 1), rest[1]]
        await self._blame(part.numbers[row], part.rows[row], fault)
        return rest

    async def _blame(self, number: int, row: Row, fault: Fault) -> None:
        if self._described is None:
            self._described = await read_table(self._db, self._writer.table)
        name = fault.column if fault.place is None else self._writer.columns[fault.place]
        if name is None and fault.constraint is not None:
            name = await column_of(self._db, self._writer.table, fault.constraint)
        column = self._described.by_name.get(name or "")
        value = None if name is None else row[list(self._writer.columns).index(name)]
        self.refuse(number, name, _reason(fault, column, value))


def _reason(fault: Fault, column: Column | None, value: object) -> str:
    """Say what is wrong by types and names alone."""
    expected = "" if column is None else f"expected {column.shown}"
    if fault.of_client:
        return f"{expected or 'unfit'}, got {type(value).__name__} ({fault.kind})"
    constraint = f" of {fault.constraint}" if fault.constraint else ""
    return f"{fault.kind}{constraint}{expected and f', {expected}'}"
