"""Behind a real PgBouncer in transaction mode, with two server connections for all."""

from __future__ import annotations

import anyio
import pytest

from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.database.pooler import refuse_session_state
from sipup_middleware.errors import ConfigurationError, QueryTimeout


@pytest.fixture
def layer(bouncer_url: str) -> Database:
    return Database(bouncer_url, pooler="transaction", pool=PoolConfig(min=0, max=20))


@pytest.mark.live
async def test_a_crowd_gets_its_own_answers(layer: Database) -> None:
    """Of statements not prepared by name, and of transactions, on fewer sessions than clients."""
    wrong: list[tuple[int, object]] = []

    async def one(db: Facade, number: int) -> None:
        for _ in range(10):
            got = await db.fetchval(f"SELECT $1::int + {number}", number)
            if got != 2 * number:
                wrong.append((number, got))
            async with db.transaction():
                pids = {await db.fetchval("SELECT pg_backend_pid()") for _ in range(2)}
                if len(pids) != 1:
                    wrong.append((number, pids))

    async with layer.open() as db, anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(one, db, number)

    assert wrong == []


@pytest.mark.live
async def test_nothing_is_set_or_reset_for_the_session(layer: Database) -> None:
    async with layer.open() as db:
        async with db.transaction():
            await db.execute("SET LOCAL work_mem = '1MB'")
            inside = await db.fetchval("SHOW work_mem")
        outside = await db.fetchval("SHOW work_mem")
        await db.execute("DO $$ BEGIN PERFORM 1; END $$")
        name = await db.fetchval("SHOW application_name")

    assert (inside, outside) == ("1MB", "4MB")
    assert name != "sipup_middleware"


@pytest.mark.live
async def test_a_statement_past_its_time_is_stopped(layer: Database) -> None:
    async with layer.open() as db:
        with anyio.fail_after(5), pytest.raises(QueryTimeout):
            await db.fetchval("SELECT pg_sleep(30)", timeout=0.1)

        assert await db.fetchval("SELECT 1") == 1


@pytest.mark.live
async def test_session_state_is_refused_inside_and_outside_a_transaction(layer: Database) -> None:
    async with layer.open() as db:
        with pytest.raises(ConfigurationError, match="SET LOCAL"):
            await db.execute("SET work_mem = '1MB'")
        async with db.transaction():
            with pytest.raises(ConfigurationError, match="SET LOCAL"):
                await db.execute("SET work_mem = '1MB'")

            assert await db.fetchval("SHOW work_mem") == "4MB"


@pytest.mark.parametrize(
    "sql",
    [
        "SET search_path = a",
        "  set session authorization bob",
        "SELECT 1; SET work_mem = '1MB'",
        "RESET ALL",
        "LISTEN news",
        "PREPARE p AS SELECT 1",
        "DEALLOCATE ALL",
        "DISCARD TEMP",
        "LOAD 'x'",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT set_config('work_mem', '1MB', false)",
        "CREATE TEMP TABLE t (i int)",
    ],
)
def test_what_would_stay_with_the_session_is_refused(sql: str) -> None:
    with pytest.raises(ConfigurationError, match="pooler"):
        refuse_session_state(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SET LOCAL work_mem = '1MB'",
        "SET TRANSACTION READ ONLY",
        "SET CONSTRAINTS ALL DEFERRED",
        "PREPARE TRANSACTION 'x'",
        "UPDATE settings SET value = 1",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT set_config('work_mem', '1MB', true)",
        "CREATE TEMP TABLE t (i int) ON COMMIT DROP",
    ],
)
def test_what_ends_with_the_transaction_is_not(sql: str) -> None:
    refuse_session_state(sql)
