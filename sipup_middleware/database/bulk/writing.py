"""``insert_many`` and ``upsert_many``: from the records to what became of them."""

from __future__ import annotations

from collections.abc import Sized
from contextlib import aclosing
from typing import TYPE_CHECKING

from sipup_middleware.database.bulk.asked import Asked, Clash
from sipup_middleware.database.bulk.columns import read_table
from sipup_middleware.database.bulk.duplicates import Duplicates
from sipup_middleware.database.bulk.load import Load
from sipup_middleware.database.bulk.records import Records, chunks, columns_of
from sipup_middleware.database.bulk.results import BulkResult
from sipup_middleware.database.bulk.upserting import Upserting
from sipup_middleware.database.bulk.writers import Inserting
from sipup_middleware.database.identifiers import Identifier

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("insert_many", "upsert_many")


async def insert_many(db: Facade, table: str | Identifier, records: Records, asked: Asked) -> BulkResult:
    """Write all *records* into *table*; see `Facade.insert_many`."""
    name = Identifier.parse(table)
    async with aclosing(chunks(records, asked.batch)) as read:
        first = await anext(read, None)
        if first is None:
            return BulkResult()
        columns = columns_of(first[0], asked.columns) or (await read_table(db, name)).names
        load = Load(db, Inserting(db, name, columns, asked.timeout), asked, total=_total(records))
        await load.run(first, read)
        return load.result()


async def upsert_many(
    db: Facade, table: str | Identifier, records: Records, asked: Asked, clash: Clash
) -> BulkResult:
    """Write all *records* into *table*, over those that are there; see `Facade.upsert_many`."""
    name = Identifier.parse(table)
    async with aclosing(chunks(records, asked.batch)) as read:
        first = await anext(read, None)
        if first is None:
            return BulkResult()
        described = await read_table(db, name)
        columns = columns_of(first[0], asked.columns) or described.names
        writer = Upserting(db, described, columns, asked.timeout, clash)
        duplicates = Duplicates(clash.key, columns, clash.on_duplicate)
        load = Load(db, writer, asked, total=_total(records), duplicates=duplicates)
        await load.run(first, read)
        return load.result()


def _total(records: Records) -> int | None:
    return len(records) if isinstance(records, Sized) else None
