"""What is left of a request's time bounds the wait for a connection and every statement."""

# ruff: noqa: PT012 (the block is what is tested)

from __future__ import annotations

import anyio
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware.database import Database, Facade, PoolConfig, current, transactional
from sipup_middleware.errors import ConfigurationError, PoolTimeout, QueryTimeout
from tests.asgi import get, lifespan
from tests.database.doubles import until
from tests.database.test_middleware import bare

pytestmark = pytest.mark.live

BUSY = """
    SELECT count(*) FROM pg_stat_activity
    WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()
"""


async def sleeps(db: Facade) -> object:
    return await db.fetchval("SELECT 1 FROM pg_sleep(20)")


async def sleeps_at_last(db: Facade) -> object:
    db.deadline(0.3)
    await db.fetchval("SELECT 1 FROM pg_sleep(0.01)")
    return await sleeps(db)


@pytest.mark.parametrize(("handle", "deadline"), [(sleeps, 0.3), (sleeps_at_last, None)])
async def test_a_deadline_ends_what_runs_on_the_server_and_is_504(
    url: str, db: Facade, handle: object, deadline: float | None
) -> None:
    layer = Database(url, pool=PoolConfig(min=0, max=1), deadline=deadline)
    app = layer(bare(handle))  # type: ignore[arg-type]  # (a handler)

    async with lifespan(app):
        with anyio.fail_after(10):
            reply = await get(app)
            pool = layer._opening.handle
            assert pool is not None
            await until(lambda: pool.stats()["idle"] == 1)
            busy = await db.fetchval(BUSY)

    assert reply.status == 504
    assert b"pg_sleep" not in reply.body
    assert busy == 0


async def test_the_connection_is_used_again(url: str) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        pid = await db.fetchval("SELECT pg_backend_pid()")
        db.deadline(0.05)
        with pytest.raises(QueryTimeout):
            await sleeps(db)
        db.deadline(None)

        assert await db.fetchval("SELECT pg_backend_pid()") == pid


async def test_it_bounds_the_wait_for_a_connection(url: str) -> None:
    config = PoolConfig(min=0, max=1, acquire_timeout=60)
    async with Database(url, pool=config).open() as db:
        other = Facade(lambda: db.pool, db.meters)
        other.deadline(0.1)
        async with db.transaction():
            with anyio.fail_after(10), pytest.raises(PoolTimeout):
                await other.fetchval("SELECT 1")
            with anyio.fail_after(10), pytest.raises((PoolTimeout, QueryTimeout)):
                async with other.transaction():
                    raise AssertionError


async def test_a_timeout_bounds_the_wait_for_a_connection(url: str) -> None:
    config = PoolConfig(min=0, max=1, acquire_timeout=60)
    async with Database(url, pool=config).open() as db:
        other = Facade(lambda: db.pool, db.meters)
        async with db.transaction():
            with anyio.fail_after(10), pytest.raises(PoolTimeout):
                await other.fetchval("SELECT 1", timeout=0.05)


async def test_past_it_nothing_is_asked(db: Facade) -> None:
    db.deadline(1e-9)

    with pytest.raises(QueryTimeout, match="deadline has passed"):
        await db.fetchval("SELECT 1")
    with pytest.raises(QueryTimeout, match="deadline has passed"):
        async with db.transaction():
            raise AssertionError
    with pytest.raises(QueryTimeout, match="deadline has passed"):
        async for _ in db.stream("SELECT 1"):
            raise AssertionError

    db.deadline(None)
    assert db.pool.stats()["in_use"] == 0


async def test_the_shorter_of_timeout_and_deadline_counts(db: Facade) -> None:
    db.deadline(60)
    with anyio.fail_after(10), pytest.raises(QueryTimeout):
        await db.fetchval("SELECT 1 FROM pg_sleep(20)", timeout=0.05)
    db.deadline(0.05)
    with anyio.fail_after(10), pytest.raises(QueryTimeout):
        await db.fetchval("SELECT 1 FROM pg_sleep(20)", timeout=60)
    db.deadline(None)


async def test_inside_a_transaction_it_bounds_each_statement_and_a_commit_goes_through(
    db: Facade, table: str
) -> None:
    with pytest.raises(QueryTimeout):
        async with db.transaction():
            await db.execute("INSERT INTO things VALUES (1)")
            db.deadline(0.05)
            await sleeps(db)
    db.deadline(0.5)
    async with db.transaction():
        await db.execute("INSERT INTO things VALUES (2)")
        db.deadline(1e-9)
    db.deadline(None)

    assert [row["id"] for row in await db.fetch("SELECT id FROM things")] == [2]


async def test_past_it_a_transactional_request_is_504_and_rolled_back(
    url: str, db: Facade, table: str
) -> None:
    @transactional
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await current().execute("INSERT INTO things VALUES (1)")
        await sleeps(current())

    wrapped: ASGIApp = Database(url, pool=PoolConfig(min=0), deadline=0.5)(app)
    async with lifespan(wrapped):
        reply = await get(wrapped)

    assert reply.status == 504
    assert await db.fetchval("SELECT count(*) FROM things") == 0


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_deadline_that_is_none_is_refused(db: Facade, seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="deadline must be above 0"):
        db.deadline(seconds)
    with pytest.raises(ConfigurationError, match=r"Database\.deadline must be above 0"):
        Database("postgresql:///", deadline=seconds)
