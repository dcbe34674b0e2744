"""Many rows through a real PgBouncer in transaction mode."""

from __future__ import annotations

import anyio
import pytest

from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.errors import RowRefused
from tests.database.bulk.test_insert import record, records

pytestmark = pytest.mark.live

TABLE = """
    CREATE TABLE items (id int PRIMARY KEY, name text, code text, price numeric, amount int, supplier int)
"""


async def test_a_crowd_writes_and_reads_many_rows(bouncer_url: str) -> None:
    read: list[bytes] = []

    async def one(db: Facade, number: int) -> None:
        first = 1000 * number
        await db.insert_many("items", [record(first + each) for each in range(300)], batch=200)
        await db.upsert_many("items", [record(first + each, code="new") for each in range(300)], key="id")
        read.extend([chunk async for chunk in db.copy_out("SELECT $1::int", number, header=False)])

    async with Database(bouncer_url, pooler="transaction", pool=PoolConfig(min=0, max=10)).open() as db:
        await db.execute(TABLE)
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(one, db, number)
        with pytest.raises(RowRefused, match="record 120, column amount"):
            await db.insert_many("items", [*records(120), record(9_999, amount="x")])

        assert await db.fetchval("SELECT count(*) FROM items WHERE code = 'new'") == 3000
        assert sorted(map(int, read)) == list(range(10))
        await db.execute("DROP TABLE items")
