"""A transaction runs again, whole, where others were in its way, and in no other case."""

# ruff: noqa: PT012 (the block is what is tested)

from __future__ import annotations

from typing import Any

import anyio
import asyncpg
import pytest

from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.database.attempts import pause_after
from sipup_middleware.errors import ConfigurationError, DatabaseUnavailable, OutcomeUnknown
from tests.database.test_facade import kill

pytestmark = pytest.mark.live


class OopsError(Exception):
    """The user's own."""


async def test_a_serialization_failure_runs_the_body_again(db: Facade, table: str) -> None:
    await db.execute("INSERT INTO things VALUES (1, 'a')")
    runs: list[int] = []

    async for attempt in db.attempts(3, isolation="repeatable_read"):
        async with attempt:
            await db.fetchval("SELECT name FROM things")
            if not runs:
                await elsewhere(db, "UPDATE things SET name = 'theirs'")
            runs.append(attempt.number)
            await db.execute("UPDATE things SET name = name || ', ours'")

    assert runs == [1, 2]
    assert await db.fetchval("SELECT name FROM things") == "theirs, ours"
    assert db.pool.stats()["in_use"] == 0


async def elsewhere(db: Facade, sql: str) -> None:
    """Run *sql* outside this task's transaction."""
    other = Facade(lambda: db.pool, db.meters)
    await other.execute(sql)


async def test_a_commit_that_fails_runs_the_body_again(db: Facade, table: str) -> None:
    await db.execute("INSERT INTO things VALUES (1)")
    runs: list[int] = []

    async for attempt in db.attempts(isolation="serializable"):
        async with attempt:
            runs.append(await db.fetchval("SELECT count(*) FROM things"))
            await db.execute("INSERT INTO things VALUES ((SELECT max(id) + 100 FROM things))")
            if len(runs) == 1:
                await skew(db)

    assert runs == [1, 2]


async def skew(db: Facade) -> None:
    """Read and write what a serializable transaction that is open has read and written."""
    other = Facade(lambda: db.pool, db.meters)
    async with other.transaction("serializable"):
        await other.fetch("SELECT count(*) FROM things")
        await other.execute("INSERT INTO things VALUES ((SELECT max(id) + 1 FROM things))")


async def test_a_deadlock_runs_its_victim_again(db: Facade, table: str) -> None:
    await db.execute("INSERT INTO things VALUES (1, ''), (2, '')")
    ready = {1: anyio.Event(), 2: anyio.Event()}
    runs: list[int] = []

    async def crossing(first: int, second: int) -> None:
        async for attempt in db.attempts(5):
            async with attempt:
                runs.append(first)
                await db.execute("SET LOCAL deadlock_timeout = '20ms'")
                await db.execute("UPDATE things SET name = name || 'x' WHERE id = $1", first)
                ready[first].set()
                await ready[second].wait()
                await db.execute("UPDATE things SET name = name || 'x' WHERE id = $1", second)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crossing, 1, 2)
            tasks.start_soon(crossing, 2, 1)

    assert len(runs) > 2
    assert {row["name"] for row in await db.fetch("SELECT name FROM things")} == {"xx"}


async def test_a_plan_that_its_table_has_outgrown_is_made_anew(url: str, db: Facade, table: str) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as one:
        await one.fetch("SELECT * FROM things")
        await db.execute("ALTER TABLE things ADD more text")
        runs: list[int] = []

        async for attempt in one.attempts(3):
            async with attempt:
                runs.append(attempt.number)
                await one.fetch("SELECT * FROM things")

    assert runs == [1, 2]


async def test_the_last_attempts_error_flies(db: Facade, table: str) -> None:
    await db.execute("INSERT INTO things VALUES (1, 'a')")
    runs: list[int] = []

    with pytest.raises(asyncpg.SerializationError):
        async for attempt in db.attempts(2, isolation="repeatable_read"):
            async with attempt:
                runs.append(await db.fetchval("SELECT 1 FROM things"))
                await elsewhere(db, "UPDATE things SET name = 'theirs'")
                await db.execute("UPDATE things SET name = 'ours'")

    assert len(runs) == 2
    assert db.pool.stats()["in_use"] == 0


@pytest.mark.parametrize(
    "error",
    [OopsError, DatabaseUnavailable, OutcomeUnknown, TimeoutError, asyncpg.UniqueViolationError, ValueError],
)
async def test_any_other_error_flies_at_once(db: Facade, error: type[Exception]) -> None:
    runs: list[int] = []

    with pytest.raises(error):
        async for attempt in db.attempts(3):
            async with attempt:
                runs.append(attempt.number)
                raise error

    assert runs == [1]


async def test_an_unknown_outcome_is_never_tried_again(db: Facade, table: str) -> None:
    await db.execute("""
        CREATE FUNCTION perish() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$
    """)
    await db.execute("""
        CREATE CONSTRAINT TRIGGER last_words AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION perish()
    """)
    runs: list[int] = []
    try:
        with pytest.raises(OutcomeUnknown):
            async for attempt in db.attempts(3):
                async with attempt:
                    runs.append(attempt.number)
                    await db.execute("INSERT INTO things VALUES (1)")
    finally:
        await db.execute("DROP FUNCTION perish CASCADE")

    assert runs == [1]


async def test_inside_a_transaction_only_the_whole_can_run_again(db: Facade, table: str) -> None:
    await db.execute("INSERT INTO things VALUES (1, 'a')")
    outer: list[int] = []
    inner: list[int] = []

    async for whole in db.attempts(3, isolation="repeatable_read"):
        async with whole:
            outer.append(await db.fetchval("SELECT 1 FROM things"))
            async for attempt in db.attempts(3):
                async with attempt:
                    inner.append(attempt.number)
                    if len(outer) == 1:
                        await elsewhere(db, "UPDATE things SET name = 'theirs'")
                    await db.execute("UPDATE things SET name = 'ours'")

    assert (len(outer), inner) == (2, [1, 1])


async def test_a_loop_that_is_left_is_over(db: Facade, table: str) -> None:
    async for attempt in db.attempts(3):
        async with attempt:
            await db.execute("INSERT INTO things VALUES (1)")
        break

    assert await db.fetchval("SELECT count(*) FROM things") == 1


async def test_what_a_dead_connection_leaves_is_an_outage(db: Facade) -> None:
    runs: list[int] = []

    with pytest.raises(DatabaseUnavailable):
        async for attempt in db.attempts(3):
            async with attempt:
                runs.append(attempt.number)
                await kill(Facade(lambda: db.pool, db.meters), await db.fetchval("SELECT pg_backend_pid()"))
                await db.fetchval("SELECT 1")

    assert runs == [1]


def test_pauses_grow_differ_and_are_bounded() -> None:
    pauses = [[pause_after(attempt) for _ in range(50)] for attempt in (1, 2, 3, 60)]

    assert all(len(set(each)) > 1 for each in pauses)
    assert [max(each) <= most for each, most in zip(pauses, (0.01, 0.02, 0.04, 0.5), strict=True)] == [
        True
    ] * 4
    assert all(each > 0 for row in pauses for each in row)


@pytest.mark.parametrize("number", [0, -1])
async def test_a_number_that_is_none_is_refused(db: Facade, number: Any) -> None:
    with pytest.raises(ConfigurationError, match="attempts must be at least 1"):
        db.attempts(number)
