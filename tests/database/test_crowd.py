"""More at once than there are connections, by far: a real server, statements that are none."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest

from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.database.pool import Pool
from tests.asgi import Exchange, get, lifespan
from tests.database.doubles import until, wire_to
from tests.database.test_middleware import bare

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"use_uvloop": True}), ("trio", {})], ids=["uvloop", "trio"]
)
async def test_twenty_thousand_at_once_never_open_more_than_fifty(url: str) -> None:
    mark = "sipup-20000"
    named = url.replace("sipup-test", mark)
    most, answered = 0, 0

    config = PoolConfig(min=0, max=50, max_waiting=20_000, acquire_timeout=60)
    async with Database(named, pool=config).open() as db:

        async def ask(number: int) -> None:
            nonlocal answered
            assert await db.fetchval("SELECT $1::int", number) == number
            answered += 1

        async def count() -> None:
            nonlocal most
            async with Database(url, pool=PoolConfig(min=0, max=1, acquire_timeout=60)).open() as other:
                while answered < 20_000:
                    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
                    most = max(most, await other.fetchval(sql, mark))
                    await anyio.sleep(0.05)

        with anyio.fail_after(120):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(count)
                for number in range(20_000):
                    tasks.start_soon(ask, number)

        stats = db.pool.stats()

    assert answered == 20_000
    assert most == 50
    assert stats == {"in_use": 0, "idle": 50, "max": 50, "waiting": 0}


LEFT_OVER = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE application_name = $1
            AND (state LIKE 'idle in%' OR (state = 'active' AND pid <> pg_backend_pid())))
    + (SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = $1
            AND pid <> pg_backend_pid())
"""


async def test_a_thousand_cancellations_leave_no_connection_lock_or_transaction(url: str) -> None:
    mark = "sipup-cancelled"
    luck = random.Random(11)  # noqa: S311 (no secret)
    async with Database(url.replace("sipup-test", mark), pool=PoolConfig(min=0, max=10)).open() as db:
        await db.execute("CREATE TABLE IF NOT EXISTS tills (id int PRIMARY KEY, cash int)")
        await db.execute("INSERT INTO tills SELECT n, 0 FROM generate_series(1, 10) n ON CONFLICT DO NOTHING")

        async def sell() -> None:
            with anyio.move_on_after(luck.random() / 20):
                async with db.transaction():
                    await db.execute("UPDATE tills SET cash = cash + 1 WHERE id = $1", luck.randint(1, 10))
                    await db.fetchval("SELECT pg_advisory_xact_lock($1)", luck.randint(1, 10))
                await db.fetchval("SELECT pg_sleep($1)", luck.random() / 100)

        with anyio.fail_after(120):
            for _ in range(20):
                async with anyio.create_task_group() as tasks:
                    for _ in range(50):
                        tasks.start_soon(sell)

        await until(lambda: db.pool.stats()["in_use"] == 0)
        assert await db.fetchval(LEFT_OVER, mark) == 0
        assert db.pool.stats()["waiting"] == 0
        assert not db.holds
        await db.execute("DROP TABLE tills")
        assert 1 <= len(db.pool.all) <= 10


async def test_a_cancelled_statement_ends_within_a_tenth_of_a_second_and_its_connection_lives(
    url: str,
) -> None:
    async with (
        Database(url, pool=PoolConfig(min=0, max=1)).open() as db,
        Database(url, pool=PoolConfig(min=0, max=1)).open() as other,
    ):
        pid = await db.fetchval("SELECT pg_backend_pid()")
        with anyio.move_on_after(0.05):
            await db.fetch("SELECT pg_sleep(30)")

        with anyio.fail_after(1):
            while await other.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", pid) == "active":
                pass

        assert await db.fetchval("SELECT pg_backend_pid()") == pid


async def test_a_stream_of_thousands_of_round_trips_has_none_too_many(database_url: str) -> None:
    async with (
        wire_to(database_url) as wire,
        Database(wire.url, pool=PoolConfig(min=1, max=1)).open() as db,
    ):
        await db.fetch("SELECT $1::int", 1)
        with wire.counting() as trips:
            for number in range(200):
                await db.fetch("SELECT $1::int", number)

    assert trips == [200]


async def test_who_would_wait_in_vain_is_told_when_to_come_back(url: str) -> None:
    app = Database(url, pool=PoolConfig(min=0, max=1, acquire_timeout=0.2))(bare(slow))
    replies: list[Exchange] = []

    async def ask() -> None:
        replies.append(await get(app))

    async with lifespan(app):
        for _ in range(40):  # until the pool has learned how long a statement takes
            await get(app)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
        counts = db_of(app).tally.counts

    refused = [reply for reply in replies if reply.status == 503]
    assert {reply.headers["retry-after"] for reply in refused} == {"1"}
    assert counts["shed"] >= 5
    assert {reply.status for reply in replies} == {200, 503}


async def slow(db: Facade) -> object:
    return await db.fetchval("SELECT 1 FROM pg_sleep(0.05)")


def db_of(app: Any) -> Pool:
    pool = app.pool_of()
    assert isinstance(pool, Pool)
    return pool
