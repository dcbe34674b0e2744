"""Statements on a real PostgreSQL: what they return, cost, leave behind, and raise."""

from __future__ import annotations

import random

import anyio
import asyncpg
import pytest

from sipup_middleware.bridge import here
from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.errors import DatabaseUnavailable, OutcomeUnknown, QueryTimeout
from tests.database.doubles import until, wire_to

pytestmark = pytest.mark.live


async def test_each_way_to_ask(db: Facade, table: str) -> None:
    assert await db.execute("INSERT INTO things VALUES (1, 'a')") == "INSERT 0 1"
    assert await db.execute("INSERT INTO things VALUES ($1, $2)", 2, "b") == "INSERT 0 1"
    await db.executemany("INSERT INTO things VALUES ($1, $2)", [(3, "c"), (4, "d")])

    assert [tuple(row) for row in await db.fetch("SELECT * FROM things WHERE id < $1 ORDER BY id", 3)] == [
        (1, "a"),
        (2, "b"),
    ]
    row = await db.fetchrow("SELECT * FROM things WHERE id = 4")
    assert row is not None
    assert row["name"] == "d"
    assert await db.fetchrow("SELECT * FROM things WHERE id = 5") is None
    assert await db.fetchval("SELECT count(*) FROM things") == 4


async def test_one_fetch_is_one_round_trip(database_url: str) -> None:
    async with (
        wire_to(database_url) as wire,
        Database(wire.url, pool=PoolConfig(min=0, max=1)).open() as db,
    ):
        await db.fetch("SELECT $1::int", 1)

        with wire.counting() as trips:
            await db.fetch("SELECT $1::int", 2)

    assert trips == [1]


async def test_a_clean_session_goes_back_without_a_round_trip_and_a_dirty_one_with_one(
    database_url: str,
) -> None:
    async with (
        wire_to(database_url) as wire,
        Database(wire.url, pool=PoolConfig(min=0, max=1)).open() as db,
    ):
        await db.fetch("SELECT 1")
        with wire.counting() as clean:
            await db.fetch("SELECT 1")
            await db.fetch("SELECT 1")
        with wire.counting() as dirty:
            await db.execute("SET work_mem = '1MB'")
            await db.fetch("SELECT 1")

    assert (clean, dirty) == ([2], [3])


async def test_a_frozen_connection_that_idled_is_replaced_when_it_is_borrowed(database_url: str) -> None:
    async with (
        wire_to(database_url) as wire,
        Database(wire.url, pool=PoolConfig(min=0, max=1)).open() as db,
    ):
        await db.fetch("SELECT 1")
        wire.frozen = True
        for lease in db.pool.idle:
            lease.idle_since -= 5
        await db.pool.home.call(thaw_when_dropped, db, wire)

        with anyio.fail_after(10):
            assert await db.fetchval("SELECT 1") == 1


async def thaw_when_dropped(db: Facade, wire: object) -> None:
    lease = db.pool.idle[0]
    terminate = db.pool.discard

    def discard(dropped: object) -> None:
        assert dropped is lease
        wire.frozen = False  # type: ignore[attr-defined]  # (a Wire)
        terminate(lease)

    db.pool.discard = discard  # type: ignore[method-assign,assignment]  # (watches one call)


@pytest.mark.parametrize(
    ("change", "question", "expected"),
    [
        ("SET work_mem = '123kB'", "SHOW work_mem", "4MB"),
        ("SELECT set_config('work_mem', '123kB', false)", "SHOW work_mem", "4MB"),
        ("SET ROLE pg_monitor", "SELECT current_user = session_user", True),
        ("LISTEN changes", "SELECT count(*) FROM pg_listening_channels()", 0),
        ("SELECT pg_advisory_lock(4711)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 0),
        ("CREATE TEMP TABLE mine (i int)", "SELECT to_regclass('pg_temp.mine') IS NULL", True),
        ("PREPARE mine AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'", 0),
        ("BEGIN; CREATE TABLE half (i int)", "SELECT to_regclass('half') IS NULL", True),
        ("DO $$ BEGIN PERFORM set_config('work_mem', '1MB', false); END $$", "SHOW work_mem", "4MB"),
    ],
)
async def test_the_next_borrower_sees_nothing_of_it(
    url: str, change: str, question: str, expected: object
) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        await db.fetchval("SELECT 1")

        await db.execute(change)

        assert await db.fetchval(question) == expected


async def test_statements_of_one_gather_run_side_by_side(db: Facade) -> None:
    pids: set[int] = set()

    async def one() -> None:
        pids.add(await db.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.1)"))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(one)

    assert len(pids) == 3


async def test_a_pool_of_one_serves_many_and_never_locks_itself(url: str) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        got: list[int] = []

        async def one(number: int) -> None:
            async with db.transaction():
                got.append(await db.fetchval("SELECT $1::int", number))
                async with db.transaction():
                    await db.execute("SELECT 1")
            await db.execute("SELECT 1")

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(one, number)

    assert sorted(got) == list(range(20))


async def test_there_are_never_more_backends_than_the_pool_may_have(url: str) -> None:
    counts: set[int] = set()
    named = url.replace("sipup-test", "sipup-crowd")
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sipup-crowd'"

    async with Database(named, pool=PoolConfig(min=0, max=10)).open() as db:

        async def one() -> None:
            counts.add(await db.fetchval(count))

        async with anyio.create_task_group() as tasks:
            for _ in range(2000):
                tasks.start_soon(one)

    assert max(counts) == 10


async def test_a_statement_that_runs_past_its_time_is_stopped(db: Facade) -> None:
    with anyio.fail_after(3), pytest.raises(QueryTimeout):
        await db.fetch("SELECT pg_sleep(5)", timeout=0.05)
    with pytest.raises(QueryTimeout):  # noqa: PT012 (the block is what is tested)
        async with db.transaction():
            await db.execute("SET LOCAL statement_timeout = '50ms'")
            await db.execute("SELECT pg_sleep(5)")

    assert await db.fetchval("SELECT 1") == 1


async def test_a_cancelled_statement_ends_on_the_server_and_its_connection_is_used_again(url: str) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        pid = await db.fetchval("SELECT pg_backend_pid()")

        with anyio.move_on_after(0.05):
            await db.fetch("SELECT pg_sleep(30)")

        with anyio.fail_after(2):
            assert await db.fetchval("SELECT pg_backend_pid()") == pid


async def test_random_cancellations_leak_no_connection(db: Facade) -> None:
    luck = random.Random(7)  # noqa: S311 (no secret)

    async def one() -> None:
        with anyio.move_on_after(luck.random() / 50):
            async with db.transaction():
                await db.fetch("SELECT pg_sleep($1)", luck.random() / 100)
            await db.execute("SELECT pg_sleep(0.005)")

    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(one)

    await until(lambda: db.pool.stats()["in_use"] == 0)
    assert db.pool.stats()["waiting"] == 0
    assert not db.holds
    assert await db.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'") == 0


async def test_what_the_server_says_against_a_statement_passes_through(db: Facade, table: str) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await db.fetch("SELEKT 1")
    with pytest.raises(asyncpg.InterfaceError, match="expects 1 argument"):
        await db.fetch("SELECT $1::int")
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.executemany("INSERT INTO things VALUES ($1)", [(1,), (1,)])
    with pytest.raises(asyncpg.DataError):
        await db.fetch("SELECT $1::int", "one")

    await until(lambda: db.pool.stats()["in_use"] == 0)


async def kill(db: Facade, pid: int) -> None:
    async with Database(await dsn(db), pool=PoolConfig(min=0, max=1)).open() as other:
        assert await other.fetchval("SELECT pg_terminate_backend($1)", pid)


async def dsn(db: Facade) -> str:
    directory = await db.fetchval("SHOW unix_socket_directories")
    return f"postgresql://postgres:hunter2@/postgres?host={directory}&port=5432"


async def test_a_backend_killed_while_idle_is_never_handed_out(db: Facade) -> None:
    other = await db.fetchval("SELECT pg_backend_pid()")
    for _ in range(20):
        await kill(db, other)

        pid = await db.fetchval("SELECT pg_backend_pid()")

        assert pid != other
        other = pid


async def test_a_read_cut_off_is_an_outage_and_a_write_cut_off_is_unknown(db: Facade, table: str) -> None:
    outcomes: list[BaseException | None] = []

    async def victim(sql: str) -> None:
        try:
            await db.fetchval(sql)
        except (DatabaseUnavailable, OutcomeUnknown) as error:
            outcomes.append(error)

    for sql in (
        "SELECT 'victim' FROM pg_sleep(20)",
        "INSERT INTO things SELECT 1, 'victim' FROM pg_sleep(20)",
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(victim, sql)
            killed = False
            with anyio.fail_after(10):
                while not killed:
                    killed = await db.fetchval(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE query LIKE '%''victim''%' AND pid <> pg_backend_pid()"
                        " AND now() - query_start > '800ms'"
                    )

    assert [type(each) for each in outcomes] == [DatabaseUnavailable, OutcomeUnknown]
    for each in outcomes:
        assert "victim" not in repr(each)
        assert each is not None
        assert each.__suppress_context__


async def test_a_connection_of_ones_own_is_pinned_and_reset(url: str) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        async with db.connection() as connection:
            await connection.execute("SET work_mem = '123kB'")
            assert isinstance(connection, asyncpg.Connection) == here().is_here
            assert await db.fetchval("SHOW work_mem") == "123kB"
            async with db.transaction():
                assert [row[0] async for row in connection.cursor("SELECT generate_series(1, 3)")] == [
                    1,
                    2,
                    3,
                ]

        assert await db.fetchval("SHOW work_mem") == "4MB"


async def test_all_that_the_driver_gives_is_used_in_the_same_way_on_every_loop(
    db: Facade, table: str
) -> None:
    async with db.connection() as connection:
        statement = await connection.prepare("SELECT $1::int + 1 AS next")
        row = await statement.fetchrow(1)
        async with connection.transaction():
            await connection.execute("INSERT INTO things VALUES (1, 'a')")
            cursor = await connection.cursor("SELECT id FROM things")
            first = await cursor.fetchrow()
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute("INSERT INTO things VALUES (2, 'b'), (2, 'c')")

        assert (type(row), dict(row or {})) == (asyncpg.Record, {"next": 2})
        assert statement.get_query() == "SELECT $1::int + 1 AS next"
        assert [each.name for each in statement.get_parameters()] == ["int4"]
        assert dict(first or {}) == {"id": 1}
        assert connection.is_in_transaction() is False
        assert connection.get_server_version().major >= 15
    assert await db.fetchval("SELECT count(*) FROM things") == 1


async def test_nothing_printed_holds_the_url(url: str, db: Facade) -> None:
    assert "hunter2" not in f"{db!r} {db.pool!r} {Database(url)!r}"
