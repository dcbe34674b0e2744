"""Transactions on a real PostgreSQL: whole or not at all, one connection, one task."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import anyio
import anyio.lowlevel
import asyncpg
import pytest

from sipup_middleware.database import Facade
from sipup_middleware.errors import ConfigurationError, DatabaseUnavailable, OutcomeUnknown, TransactionMisuse
from tests.database.test_facade import kill

pytestmark = pytest.mark.live

COUNT = "SELECT count(*) FROM things"
PID = "SELECT pg_backend_pid()"


class OopsError(Exception):
    """The user's own."""


async def test_what_is_committed_stays_and_what_raises_leaves_nothing(db: Facade, table: str) -> None:
    async with db.transaction():
        await db.execute("INSERT INTO things VALUES (1)")
    with pytest.raises(OopsError):  # noqa: PT012 (the block is what is tested)
        async with db.transaction():
            await db.execute("INSERT INTO things VALUES (2)")
            raise OopsError

    assert [row["id"] for row in await db.fetch("SELECT id FROM things")] == [1]
    assert db.pool.stats()["in_use"] == 0


async def test_a_transaction_has_one_backend(db: Facade) -> None:
    async with db.transaction():
        pids = {await db.fetchval(PID) for _ in range(5)}

        assert db.pool.stats()["in_use"] == 1

    assert len(pids) == 1


async def test_a_transaction_inside_is_a_savepoint(db: Facade, table: str) -> None:
    async with db.transaction():
        await db.execute("INSERT INTO things VALUES (1)")
        with pytest.raises(OopsError):  # noqa: PT012 (the block is what is tested)
            async with db.transaction():
                await db.execute("INSERT INTO things VALUES (2)")
                raise OopsError
        async with db.transaction():
            await db.execute("INSERT INTO things VALUES (3)")
        with pytest.raises(asyncpg.PostgresSyntaxError):
            async with db.transaction():
                await db.execute("SELEKT")

    assert [row["id"] for row in await db.fetch("SELECT id FROM things ORDER BY id")] == [1, 3]


async def test_options_reach_the_server(db: Facade) -> None:
    async with db.transaction("serializable", readonly=True, deferrable=True):
        assert await db.fetchval("SHOW transaction_isolation") == "serializable"
        assert await db.fetchval("SHOW transaction_read_only") == "on"
        assert await db.fetchval("SHOW transaction_deferrable") == "on"


async def test_an_isolation_that_is_none_is_refused(db: Facade) -> None:
    nonsense: Any = "chaos"

    with pytest.raises(ConfigurationError, match="serializable"):
        db.transaction(nonsense)


async def test_a_child_task_is_not_let_in(db: Facade) -> None:
    errors: list[str] = []

    async def child() -> None:
        try:
            await db.fetchval("SELECT 1")
        except TransactionMisuse as error:
            errors.append(str(error))

    async with db.transaction():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
        assert await db.fetchval("SELECT 1") == 1

    assert len(errors) == 1
    assert "asyncio.gather" in errors[0]
    assert "asyncio.wait_for" in errors[0]


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_wait_for_is_refused_where_it_makes_a_task(db: Facade) -> None:
    async with db.transaction():
        if sys.version_info >= (3, 12):
            assert await asyncio.wait_for(db.fetchval("SELECT 1"), 5) == 1
        else:
            with pytest.raises(TransactionMisuse):
                await asyncio.wait_for(db.fetchval("SELECT 1"), 5)


async def test_a_task_started_before_is_free(db: Facade) -> None:
    go, done = anyio.Event(), anyio.Event()
    pids: list[int] = []

    async def elder() -> None:
        await go.wait()
        pids.append(await db.fetchval(PID))
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(elder)
        await anyio.lowlevel.checkpoint()
        async with db.transaction():
            pids.append(await db.fetchval(PID))
            go.set()
            await done.wait()

    assert len(set(pids)) == 2


async def test_a_child_that_outlives_the_transaction_is_free(db: Facade) -> None:
    go = anyio.Event()
    values: list[int] = []

    async def child() -> None:
        await go.wait()
        values.append(await db.fetchval("SELECT 1"))

    async with anyio.create_task_group() as tasks:
        async with db.transaction():
            tasks.start_soon(child)
            await anyio.lowlevel.checkpoint()
        go.set()

    assert values == [1]


async def test_a_deferred_constraint_fails_the_commit(db: Facade, table: str) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):  # noqa: PT012 (the block is what is tested)
        async with db.transaction():
            await db.execute("INSERT INTO things VALUES (1)")
            await db.execute("INSERT INTO things VALUES (1)")

    assert await db.fetchval(COUNT) == 0
    assert db.pool.stats()["in_use"] == 0


async def test_a_commit_that_was_none_does_not_pass_for_one(db: Facade, table: str) -> None:
    with pytest.raises(asyncpg.InFailedSQLTransactionError, match="nothing was committed"):  # noqa: PT012 (the block is what is tested)
        async with db.transaction():
            await db.execute("INSERT INTO things VALUES (1)")
            with pytest.raises(asyncpg.DivisionByZeroError):
                await db.execute("SELECT 1 / 0")

    assert await db.fetchval(COUNT) == 0


async def test_the_users_exception_is_not_masked_by_a_dead_connection(db: Facade) -> None:
    with pytest.raises(OopsError):  # noqa: PT012 (the block is what is tested)
        async with db.transaction():
            await kill_from_elsewhere(db, await db.fetchval(PID))
            raise OopsError

    assert await db.fetchval("SELECT 1") == 1


async def test_a_statement_on_a_dead_transaction_is_an_outage_not_a_retry(db: Facade, table: str) -> None:
    with pytest.raises(DatabaseUnavailable):  # noqa: PT012 (the block is what is tested)
        async with db.transaction():
            await db.execute("INSERT INTO things VALUES (1)")
            await kill_from_elsewhere(db, await db.fetchval(PID))
            await db.fetch("SELECT 1")

    assert await db.fetchval(COUNT) == 0


async def test_a_commit_that_was_cut_off_is_unknown(db: Facade, table: str) -> None:
    await db.execute("""
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$
    """)
    await db.execute("""
        CREATE CONSTRAINT TRIGGER last_words AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION die()
    """)
    try:
        with pytest.raises(OutcomeUnknown):
            async with db.transaction():
                await db.execute("INSERT INTO things VALUES (1)")
    finally:
        await db.execute("DROP FUNCTION die CASCADE")


async def test_a_cancelled_transaction_is_rolled_back(db: Facade, table: str) -> None:
    with anyio.move_on_after(0.1):
        async with db.transaction():
            await db.execute("INSERT INTO things VALUES (1)")
            await db.execute("SELECT pg_sleep(30)")

    assert await db.fetchval(COUNT) == 0


async def kill_from_elsewhere(db: Facade, pid: int) -> None:
    """Kill by another pool: this task's statements are in the transaction."""
    await kill(db, pid)
    await anyio.sleep(0.05)
