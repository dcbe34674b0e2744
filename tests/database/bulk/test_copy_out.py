"""A file of rows, as fast as it is read."""

from __future__ import annotations

import csv
from contextlib import aclosing
from typing import Any

import anyio
import asyncpg
import pytest

from sipup_middleware.database import Database, Facade, Identifier, PoolConfig
from sipup_middleware.errors import ConfigurationError, QueryTimeout, TransactionMisuse

pytestmark = pytest.mark.live

MANY = "SELECT n, repeat('x', 100) AS filling FROM generate_series(1, 200000) AS n"


async def whole(db: Facade, *args: Any, **options: Any) -> bytes:
    return b"".join([chunk async for chunk in db.copy_out(*args, **options)])


async def test_a_query_with_arguments_comes_as_csv(db: Facade) -> None:
    text = await whole(db, "SELECT $1::int AS id, $2::text AS name;", 7, 'a "quoted", name')

    assert list(csv.reader(text.decode().splitlines())) == [["id", "name"], ["7", 'a "quoted", name']]


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"header": False}, b"1,a\n"),
        ({"format": "text"}, b"1\ta\n"),
        ({"format": "binary"}, b"PGCOPY\n"),
    ],
)
async def test_other_formats(db: Facade, options: dict[str, Any], first: bytes) -> None:
    assert (await whole(db, "SELECT 1, 'a'", **options)).startswith(first)


async def test_a_table_comes_whole(db: Facade) -> None:
    await db.execute('CREATE TABLE "Some.Things" (i int)')
    await db.execute('INSERT INTO "Some.Things" VALUES (1)')

    assert await whole(db, Identifier("public", "Some.Things")) == b"i\n1\n"
    assert await whole(db, "pg_catalog.pg_am", header=False) != b""

    await db.execute('DROP TABLE "Some.Things"')


async def test_more_than_fits_comes_in_chunks_and_in_order(db: Facade) -> None:
    sizes: list[int] = []
    lines = 0

    async for chunk in db.copy_out(MANY, header=False):
        assert isinstance(chunk, bytes)
        sizes.append(len(chunk))
        lines += chunk.count(b"\n")

    assert lines == 200_000
    assert len(sizes) > 5
    assert max(sizes) < 5_000_000


async def test_who_stops_reading_gives_the_connection_back(url: str) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        for _ in range(3):
            rows = db.copy_out(MANY)
            await anext(rows)
            assert db.pool.stats()["in_use"] == 1
            await rows.aclose()

            with anyio.fail_after(5):
                assert await db.fetchval("SELECT 1") == 1


async def test_a_reader_that_is_cancelled_gives_the_connection_back(url: str) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        with anyio.move_on_after(0.2):
            async for _ in db.copy_out("SELECT pg_sleep(30)"):
                pass

        with anyio.fail_after(5):
            assert await db.fetchval("SELECT 1") == 1


async def test_who_reads_from_the_only_connection_is_told_not_to_wait_for_another(url: str) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db, aclosing(db.copy_out(MANY)) as rows:
        await anext(rows)

        with pytest.raises(TransactionMisuse, match="streams that this task"):
            await db.fetchval("SELECT 1")


async def test_in_a_transaction_it_sees_what_that_wrote(db: Facade) -> None:
    async with db.transaction():
        await db.execute("CREATE TABLE mine (i int)")
        await db.execute("INSERT INTO mine VALUES (5)")

        assert await whole(db, "mine") == b"i\n5\n"

        await db.execute("DROP TABLE mine")


async def test_what_the_server_says_against_it_flies(db: Facade) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await whole(db, "SELEKT 1")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await whole(db, "SELECT 1 / (1000 - n) FROM generate_series(1, 1000) AS n")
    with pytest.raises(QueryTimeout):
        await whole(db, "SELECT pg_sleep(30)", timeout=0.1)

    assert await db.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [(("t",), {"format": "xml"}, "format"), (("t", 1), {}, "arguments"), (("",), {}, "empty")],
)
async def test_nonsense_is_refused_by_name(
    db: Facade, args: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        db.copy_out(*args, **options)
