"""What the driver and the server raise, each met on a real server, and what a handler gets for it."""

# ruff: noqa: PT012 (the block is what is tested)

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import asyncpg
import pytest

from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.errors import DatabaseUnavailable, OutcomeUnknown, QueryTimeout
from sipup_middleware.services import Services
from sipup_middleware.telemetry import Telemetry
from tests.database.doubles import until
from tests.database.test_facade import kill

pytestmark = pytest.mark.live

Victim = Callable[[Facade], Awaitable[object]]
FIND = """
    SELECT {action}(pid) FROM pg_stat_activity
    WHERE query LIKE '%victim%' AND state = 'active' AND pid <> pg_backend_pid()
    AND now() - query_start > '700ms'
"""
"""Run for that long, it is no connection that was dead before: a plain read is not tried again."""


class OopsError(Exception):
    """The user's own."""


async def read(db: Facade) -> object:
    return await db.fetchval("SELECT 'victim' FROM pg_sleep(20)")


async def write(db: Facade) -> object:
    return await db.execute("INSERT INTO things SELECT 1, 'victim' FROM pg_sleep(20)")


async def write_many(db: Facade) -> object:
    sql = "INSERT INTO things SELECT $1::int, 'victim' FROM pg_sleep(20)"
    await db.executemany(sql, [(1,), (2,)])
    return "both"


async def read_inside(db: Facade) -> object:
    async with db.transaction():
        return await read(db)


async def write_inside(db: Facade) -> object:
    async with db.transaction():
        return await write(db)


async def read_by_stream(db: Facade) -> object:
    return [row async for row in db.stream("SELECT 'victim' FROM pg_sleep(20)")]


async def call_a_function(db: Facade) -> object:
    """Nobody knows what it does."""
    return await db.fetchval("SELECT pg_sleep_for('20 s'), 'victim'")


CUT_OFF: dict[Victim, type[Exception]] = {
    read: DatabaseUnavailable,
    write: OutcomeUnknown,
    write_many: OutcomeUnknown,
    call_a_function: OutcomeUnknown,
    read_inside: DatabaseUnavailable,
    write_inside: DatabaseUnavailable,
    read_by_stream: DatabaseUnavailable,
}
"""What each gets when its connection breaks."""

TOO_LONG: dict[Victim, type[Exception]] = dict.fromkeys(CUT_OFF, QueryTimeout)


@pytest.fixture
async def crowd(url: str) -> AsyncIterator[Facade]:
    """Room for all victims, and for who attacks them."""
    async with Database(url, pool=PoolConfig(min=0, max=len(CUT_OFF) + 1)).open() as db:
        yield db


async def met(db: Facade, attack: Callable[[], Awaitable[object]]) -> dict[Victim, BaseException]:
    """Return what each victim raises when *attack* has found them all at it."""
    errors: dict[Victim, BaseException] = {}

    async def suffer(victim: Victim) -> None:
        try:
            await victim(db)
        except Exception as error:
            errors[victim] = error

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for victim in CUT_OFF:
                tasks.start_soon(suffer, victim)
            while await db.fetchval(FIND.format(action="count")) < len(CUT_OFF):  # noqa: ASYNC110 (it polls)
                await anyio.sleep(0.02)
            await attack()
    return errors


def kinds(errors: dict[Victim, BaseException]) -> dict[Victim, type[BaseException]]:
    return {victim: type(error) for victim, error in errors.items()}


async def test_a_backend_that_is_killed(crowd: Facade, table: str) -> None:
    errors = await met(crowd, lambda: crowd.fetch(FIND.format(action="pg_terminate_backend")))

    assert kinds(errors) == CUT_OFF
    assert "victim" not in repr(errors.values())
    assert all(error.__suppress_context__ for error in errors.values())
    assert await crowd.fetchval("SELECT count(*) FROM things") == 0


async def test_a_statement_that_the_operator_cancels_is_a_timeout(crowd: Facade, table: str) -> None:
    errors = await met(crowd, lambda: crowd.fetch(FIND.format(action="pg_cancel_backend")))

    assert kinds(errors) == TOO_LONG
    assert await crowd.fetchval("SELECT count(*) FROM things") == 0
    await until(lambda: crowd.pool.stats()["in_use"] == 0)


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_server_that_goes_away(own_services: Services, how: str) -> None:
    postgres = own_services.postgres
    assert postgres is not None
    async with Database(postgres.url, pool=PoolConfig(min=0, max=len(CUT_OFF) + 1)).open() as db:
        await db.execute("CREATE TABLE things (id int, name text)")
        errors = await met(db, lambda: anyio.to_thread.run_sync(getattr(postgres, how)))

    assert kinds(errors) == CUT_OFF


@pytest.mark.parametrize("victim", CUT_OFF)
@pytest.mark.parametrize(
    ("setting", "expected"), [("statement_timeout", TOO_LONG), ("transaction_timeout", CUT_OFF)]
)
async def test_a_statement_that_the_servers_own_limit_ends(
    url: str, table: str, victim: Victim, setting: str, expected: dict[Victim, type[Exception]]
) -> None:
    """The former is told, the latter closes the connection."""
    async with Database(f"{url}&{setting}=50", pool=PoolConfig(min=0, max=2)).open() as db:
        with anyio.fail_after(10), pytest.raises(expected[victim]):
            await victim(db)

        assert await db.fetchval("SELECT 1") == 1


async def idle_in_a_transaction_that_is_killed(db: Facade) -> None:
    async with db.transaction():
        await kill(db, await db.fetchval("SELECT pg_backend_pid()"))
        await anyio.sleep(0.1)
        await db.execute("INSERT INTO things VALUES (1)")


async def idle_in_a_transaction_for_too_long(db: Facade) -> None:
    async with db.transaction():
        await db.execute("SET LOCAL idle_in_transaction_session_timeout = '30ms'")
        await anyio.sleep(0.3)
        await db.execute("INSERT INTO things VALUES (1)")


async def in_a_savepoint_that_is_killed(db: Facade) -> None:
    async with db.transaction(), db.transaction():
        await kill(db, await db.fetchval("SELECT pg_backend_pid()"))
        await anyio.sleep(0.1)


async def a_commit_of_reads_that_is_killed(db: Facade) -> None:
    async with db.transaction():
        await kill(db, await db.fetchval("SELECT pg_backend_pid()"))
        await anyio.sleep(0.1)


UNNOTICED = [
    idle_in_a_transaction_that_is_killed,
    idle_in_a_transaction_for_too_long,
    in_a_savepoint_that_is_killed,
    a_commit_of_reads_that_is_killed,
]


@pytest.mark.parametrize("victim", UNNOTICED)
async def test_a_connection_that_died_while_it_was_held(db: Facade, table: str, victim: Victim) -> None:
    with pytest.raises(DatabaseUnavailable):
        await victim(db)

    assert await db.fetchval("SELECT count(*) FROM things") == 0


async def test_a_connection_that_died_never_masks_what_the_handler_raised(db: Facade) -> None:
    for level in (0, 1):
        with pytest.raises(OopsError) as met_error:
            async with db.transaction():
                await fail_in_a_dead_one(db, level)

        assert met_error.value.__cause__ is None
    assert await db.fetchval("SELECT 1") == 1


async def fail_in_a_dead_one(db: Facade, level: int) -> None:
    if level:
        async with db.transaction():
            return await fail_in_a_dead_one(db, level - 1)
    await kill(db, await db.fetchval("SELECT pg_backend_pid()"))
    await anyio.sleep(0.1)
    raise OopsError


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_a_connection_of_ones_own_that_breaks_is_an_outage(db: Facade) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with db.connection() as connection:
            await kill(db, await connection.fetchval("SELECT pg_backend_pid()"))
            await anyio.sleep(0.1)
            await connection.fetchval("SELECT 1")
    with pytest.raises(OopsError):
        async with db.connection() as connection:
            await kill(db, await connection.fetchval("SELECT pg_backend_pid()"))
            await anyio.sleep(0.1)
            raise OopsError
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with db.connection() as connection:
            await connection.fetchval("SELECT 1 / 0")


REFUSED = [
    ("SELEKT 1", asyncpg.PostgresSyntaxError),
    ("SELECT 1 / 0", asyncpg.DivisionByZeroError),
    ("SELECT * FROM nowhere", asyncpg.UndefinedTableError),
    ("INSERT INTO things VALUES (1), (1)", asyncpg.UniqueViolationError),
    ("INSERT INTO things VALUES (NULL)", asyncpg.NotNullViolationError),
    ("SELECT 'x'::int", asyncpg.InvalidTextRepresentationError),
    ("SET LOCAL lock_timeout = '30ms'; LOCK TABLE things", asyncpg.LockNotAvailableError),
    ("BEGIN READ ONLY; INSERT INTO things VALUES (1)", asyncpg.ReadOnlySQLTransactionError),
]


@pytest.mark.parametrize(("sql", "expected"), REFUSED)
async def test_what_the_server_says_against_a_statement_is_the_drivers_error(
    db: Facade, table: str, sql: str, expected: type[Exception]
) -> None:
    other = Facade(lambda: db.pool, db.meters)
    async with db.transaction():
        await db.execute("LOCK TABLE things IN ROW SHARE MODE")
        with pytest.raises(expected):
            await other.execute(sql)

    await until(lambda: db.pool.stats()["in_use"] == 0)


async def test_a_plain_read_that_met_a_dead_connection_runs_again_and_counts_once(
    url: str, db: Facade
) -> None:
    telemetry = Telemetry()
    facade = Facade(lambda: db.pool, type(db.meters)(telemetry))
    attacked = await facade.fetchval("SELECT pg_backend_pid()")

    await kill(db, attacked)
    pid = await facade.fetchval("SELECT pg_backend_pid()")

    assert pid != attacked
    assert telemetry.counter("db.queries", outcome="ok").value == 2
    assert telemetry.counter("db.queries", outcome="error").value == 0


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO things VALUES (1)",
        "SELECT nextval('counting')",
        "WITH gone AS (DELETE FROM things RETURNING 1) SELECT * FROM gone",
        "CALL anything()",
    ],
)
async def test_nothing_else_runs_twice(db: Facade, table: str, sql: str) -> None:
    calls: list[str] = []
    facade = Facade(lambda: db.pool, db.meters)

    async def cut(*args: Any, **options: Any) -> Any:
        calls.append(args[0])
        raise asyncpg.ConnectionDoesNotExistError

    await facade.fetchval("SELECT 1")
    lease = db.pool.idle[-1]
    lease.connection = Cut(lease.connection, cut)
    with pytest.raises((DatabaseUnavailable, OutcomeUnknown)):
        await facade.fetch(sql)

    assert calls == [sql]


class Cut:
    """A connection whose statements break."""

    def __init__(self, real: Any, cut: Any) -> None:
        self.real = real
        self.fetch = cut

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)
