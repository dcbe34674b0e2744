"""Many rows at once: written by COPY or one statement a batch, read as a file.

::

    await db.insert_many("events", records)  # dicts, Records, tuples; a list, a generator, an async one
    await db.upsert_many("shop.products", records, key="id", on_duplicate="last")
    async for chunk in db.copy_out("SELECT * FROM products", format="csv"):
        await send(chunk)

A bad record is a `RowRefused` with its index, column and reason, and nothing of the write is kept; with
``on_error="collect"`` the others are written, and it is in the result.

==================  ==========================================================
``asked``           what a bulk write may be told
``writing``         ``insert_many`` and ``upsert_many``
``load``            batches, transactions, and splitting one that fails
``records``         any kind of record becomes a row
``duplicates``      records of one key
``writers``         how rows get in: COPY, or statements that travel together
``upserting``       ... over those that are there
``statements``      COPY ... FROM
``copy_out``        COPY ... TO
``faults``          what a driver's error says of a row
``columns``         what the catalog says of a table
``results``         `BulkResult`, `FailedRow`
==================  ==========================================================
"""

from sipup_middleware.database.bulk.asked import BATCH, Asked, Clash, OnDuplicate, OnError, Progress
from sipup_middleware.database.bulk.copy_out import CopyFormat, CopyOut, copied
from sipup_middleware.database.bulk.records import Records
from sipup_middleware.database.bulk.results import BulkResult, FailedRow
from sipup_middleware.database.bulk.writing import insert_many, upsert_many

__all__ = (
    "BATCH",
    "Asked",
    "BulkResult",
    "Clash",
    "CopyFormat",
    "CopyOut",
    "FailedRow",
    "OnDuplicate",
    "OnError",
    "Progress",
    "Records",
    "copied",
    "insert_many",
    "upsert_many",
)
