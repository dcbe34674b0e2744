"""Rows read a batch at a time: nothing is kept that is not being read."""

# ruff: noqa: PT012 (the block is what is tested)

from __future__ import annotations

import gc
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import anyio
import asyncpg
import pytest

from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    QueryTimeout,
    TransactionMisuse,
)
from tests.database.doubles import until, wire_to
from tests.database.test_facade import kill

pytestmark = pytest.mark.live

ROWS = "SELECT n, pg_backend_pid() AS pid FROM generate_series(1, $1) AS n"
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'"


class OopsError(Exception):
    """The user's own."""


def small(url: str, size: int = 1) -> AbstractAsyncContextManager[Facade]:
    return Database(url, pool=PoolConfig(min=0, max=size)).open()


def in_use(db: Facade) -> float:
    return db.pool.stats()["in_use"]


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1000, 1234])
async def test_all_rows_come_in_their_order(db: Facade, count: int) -> None:
    got = [row["n"] async for row in db.stream(ROWS, count)]

    assert got == [*range(1, count + 1)]
    assert in_use(db) == 0


async def test_it_holds_a_connection_from_the_first_row_to_the_last_batch(db: Facade) -> None:
    stream = db.stream(ROWS, 25, prefetch=10)
    seen = [in_use(db)]
    seen += [in_use(db) async for row in stream if row["n"] in {1, 20, 21, 25}]

    assert seen == [0, 1, 1, 0, 0]


async def test_it_asks_for_a_batch_at_a_time(database_url: str) -> None:
    async with wire_to(database_url) as wire, small(wire.url) as db:
        warm = [row async for row in db.stream(ROWS, 3, prefetch=10)]
        with wire.counting() as trips:
            rows = [row async for row in db.stream(ROWS, 35, prefetch=10)]

    assert (len(warm), len(rows)) == (3, 35)
    assert trips[0] <= 7  # BEGIN, the portal, four batches, COMMIT


async def test_all_of_it_is_of_one_moment(db: Facade, table: str) -> None:
    await db.execute("INSERT INTO things SELECT n FROM generate_series(1, 20) AS n")
    got: list[int] = []

    async for row in db.stream("SELECT id FROM things ORDER BY id", prefetch=5):
        got.append(row["id"])
        await db.execute("INSERT INTO things VALUES ($1)", 1000 + row["id"])

    assert got == [*range(1, 21)]


async def test_what_it_writes_is_committed_when_it_is_read_to_the_end(db: Facade, table: str) -> None:
    sql = "INSERT INTO things SELECT n FROM generate_series(1, 5) AS n RETURNING id"
    async for _ in db.stream(sql, prefetch=2):
        pass

    assert await db.fetchval("SELECT count(*) FROM things") == 5


async def test_a_loop_that_is_left_gives_the_connection_back(url: str) -> None:
    async with small(url) as db:
        async for row in db.stream(ROWS, 1000, prefetch=10):
            if row["n"] == 15:
                break
        await until(lambda: in_use(db) == 0)

        assert await db.fetchval("SELECT pg_backend_pid()") == row["pid"]
        async with db.transaction():
            assert await db.fetchval(OPEN) == 0


async def test_async_with_waits_until_it_is_given_back(url: str) -> None:
    async with small(url) as db:
        async with db.stream(ROWS, 1000, prefetch=10) as rows:
            async for row in rows:
                if row["n"] == 15:
                    break
        assert in_use(db) == 0
        assert [row async for row in rows] == []


async def test_an_error_in_the_loop_gives_the_connection_back(url: str) -> None:
    async with small(url) as db:
        with pytest.raises(OopsError):
            await fail_while_reading(db)
        gc.collect()
        await until(lambda: in_use(db) == 0)

        assert await db.fetchval(OPEN) == 0


async def fail_while_reading(db: Facade) -> None:
    async for _ in db.stream(ROWS, 1000, prefetch=10):
        raise OopsError


async def test_a_cancellation_gives_the_connection_back(url: str) -> None:
    async with small(url) as db:
        with anyio.move_on_after(0.2):
            async for _ in db.stream("SELECT pg_sleep(n) FROM generate_series(0, 20) AS n", prefetch=1):
                pass
        with anyio.fail_after(10):
            await until(lambda: in_use(db) == 0)
            assert await db.fetchval(OPEN) == 0


async def test_random_cancellations_leak_no_connection(db: Facade) -> None:
    luck = random.Random(7)  # noqa: S311 (no secret)

    async def one() -> None:
        with anyio.move_on_after(luck.random() / 30):
            async for _ in db.stream("SELECT pg_sleep(0.001) FROM generate_series(1, 30)", prefetch=3):
                if luck.random() < 1 / 30:
                    break

    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(one)

    await until(lambda: in_use(db) == 0)
    assert not db.streaming
    assert await db.fetchval(OPEN) == 0


async def test_inside_a_transaction_it_is_part_of_that(url: str, table: str) -> None:
    async with small(url) as db:
        async with db.transaction():
            await db.execute("INSERT INTO things SELECT n FROM generate_series(1, 30) AS n")
            pid = await db.fetchval("SELECT pg_backend_pid()")
            pids = set()
            async for row in db.stream("SELECT id, pg_backend_pid() AS pid FROM things", prefetch=10):
                pids.add(row["pid"])
                await db.execute("UPDATE things SET name = 'seen' WHERE id = $1", row["id"])
                if row["id"] == 12:
                    break
            assert in_use(db) == 1

        assert pids == {pid}
        assert await db.fetchval("SELECT count(*) FROM things WHERE name = 'seen'") == 12


async def test_where_all_connections_are_its_own_the_loop_is_told_at_once(url: str) -> None:
    async with small(url) as db:
        with anyio.fail_after(4), pytest.raises(TransactionMisuse, match="all 1 connections"):
            async for _ in db.stream(ROWS, 1000, prefetch=10):
                await db.fetchval("SELECT 1")
        with anyio.fail_after(4), pytest.raises(TransactionMisuse, match="all 1 connections"):
            async for _ in db.stream(ROWS, 1000, prefetch=10):
                async with db.transaction():
                    raise AssertionError
        gc.collect()
        await until(lambda: in_use(db) == 0)

        assert await db.fetchval("SELECT 1") == 1


async def test_another_task_may_wait_for_the_streams_connection(url: str) -> None:
    got: list[int] = []
    async with small(url) as db:

        async def one() -> None:
            got.append(await db.fetchval("SELECT 1"))

        async with anyio.create_task_group() as tasks:
            async for row in db.stream(ROWS, 30, prefetch=10):
                if row["n"] == 1:
                    tasks.start_soon(one)
                    await anyio.sleep(0.02)

    assert got == [1]


async def test_several_run_side_by_side(db: Facade) -> None:
    pids: set[int] = set()

    async def one() -> None:
        async for row in db.stream(ROWS, 50, prefetch=5):
            pids.add(row["pid"])
            await until(lambda: len(pids) == 3)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(one)

    assert len(pids) == 3


async def test_the_servers_objections_fly_and_hold_nothing(db: Facade) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        async for _ in db.stream("SELEKT 1"):
            raise AssertionError
    with pytest.raises(asyncpg.DivisionByZeroError):
        async for _ in db.stream("SELECT 1 / (n - 30) FROM generate_series(1, 50) AS n", prefetch=10):
            pass

    assert in_use(db) == 0


async def test_a_connection_that_breaks_is_an_outage(db: Facade) -> None:
    rows: list[int] = []

    with pytest.raises(DatabaseUnavailable):
        async for row in db.stream(ROWS, 1000, prefetch=10):
            rows.append(row["n"])
            if len(rows) == 1:
                await kill(db, row["pid"])

    assert len(rows) == 10
    await until(lambda: in_use(db) == 0)


async def test_a_batch_that_takes_too_long_is_a_timeout(db: Facade) -> None:
    with anyio.fail_after(10), pytest.raises(QueryTimeout):
        async for _ in db.stream("SELECT pg_sleep(20)", timeout=0.05):
            raise AssertionError

    await until(lambda: in_use(db) == 0)


async def test_a_handler_that_reads_on_slowly_may_be_read_in_batches(db: Facade) -> None:
    async def batches() -> AsyncIterator[int]:
        stream = db.stream(ROWS, 25, prefetch=10)
        while rows := await stream.batch():
            yield len(rows)

    assert [each async for each in batches()] == [10, 10, 5]


async def test_nonsense_is_refused(db: Facade) -> None:
    with pytest.raises(ConfigurationError, match="prefetch must be at least 1"):
        db.stream("SELECT 1", prefetch=0)


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_on_a_connection_of_ones_own_it_needs_a_transaction(db: Facade) -> None:
    async with db.connection():
        with pytest.raises(ConfigurationError, match=r"db\.transaction\(\) around it"):
            async for _ in db.stream(ROWS, 1):
                raise AssertionError
        async with db.transaction():
            assert [row["n"] async for row in db.stream(ROWS, 2)] == [1, 2]
