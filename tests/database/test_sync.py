"""`db.sync` in ``def`` handlers and plain threads: the same promises, and nothing waits for itself."""

# ruff: noqa: PT012 (the block is what is tested)

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import asyncpg
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from sipup_middleware.database import Database, Facade, PoolConfig, current
from sipup_middleware.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    PoolTimeout,
    QueryTimeout,
    TransactionMisuse,
)
from tests.asgi import get, lifespan
from tests.database.doubles import until

pytestmark = pytest.mark.live

COUNT = "SELECT count(*) FROM things"
PID = "SELECT pg_backend_pid()"
Work = Callable[[Facade], Any]


class OopsError(Exception):
    """The user's own."""


async def in_anyios_thread(work: Callable[[], Any]) -> Any:
    return await anyio.to_thread.run_sync(work)


async def in_a_plain_thread(work: Callable[[], Any]) -> Any:
    """As Django's and Quart's handlers are run: by an executor of their own."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append((work(), None))
        except BaseException as error:
            got.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    await until(lambda: got)
    thread.join()
    result, error = got[0]
    if error is not None:
        raise error
    return result


THREADS = pytest.mark.parametrize("inside", [in_anyios_thread, in_a_plain_thread])
Inside = Callable[[Callable[[], Any]], Any]


@THREADS
async def test_each_way_to_ask(db: Facade, table: str, inside: Inside) -> None:
    def work() -> Any:
        sync = db.sync
        assert sync.execute("INSERT INTO things VALUES ($1, $2)", 1, "a") == "INSERT 0 1"
        sync.executemany("INSERT INTO things VALUES ($1, $2)", [(2, "b"), (3, "c")])
        first = sync.fetchrow("SELECT * FROM things WHERE id = 1")
        assert first is not None
        assert first["name"] == "a"
        streamed = [row["id"] for row in sync.stream("SELECT id FROM things ORDER BY id", prefetch=2)]
        assert sync.run(db.fetchval, COUNT) == 3
        return streamed, len(sync.fetch("SELECT 1")), sync.fetchval(COUNT)

    assert await inside(work) == ([1, 2, 3], 1, 3)
    assert db.pool.stats()["in_use"] == 0


@THREADS
async def test_a_transaction_is_whole_or_not_at_all(db: Facade, table: str, inside: Inside) -> None:
    def work() -> list[int]:
        sync = db.sync
        pids: list[int] = []
        with sync.transaction():
            pids.append(sync.fetchval(PID))
            sync.execute("INSERT INTO things VALUES (1)")
            with pytest.raises(OopsError), sync.transaction():
                sync.execute("INSERT INTO things VALUES (2)")
                raise OopsError
            pids.append(sync.fetchval(PID))
        with pytest.raises(OopsError), sync.transaction():
            sync.execute("INSERT INTO things VALUES (3)")
            raise OopsError
        with pytest.raises(asyncpg.UniqueViolationError), sync.transaction():
            sync.execute("INSERT INTO things VALUES (1)")
        return pids

    pids = await inside(work)

    assert len(set(pids)) == 1
    assert [row["id"] for row in await db.fetch("SELECT id FROM things")] == [1]
    assert db.pool.stats()["in_use"] == 0


@THREADS
async def test_options_reach_the_server(db: Facade, inside: Inside) -> None:
    def work() -> Any:
        with db.sync.transaction("serializable", readonly=True):
            return db.sync.fetchval("SHOW transaction_isolation"), db.sync.fetchval(
                "SHOW transaction_read_only"
            )

    assert await inside(work) == ("serializable", "on")


@THREADS
async def test_attempts_run_again_where_others_were_in_the_way(
    db: Facade, table: str, inside: Inside
) -> None:
    await db.execute("INSERT INTO things VALUES (1, 'a')")
    other = Facade(lambda: db.pool, db.meters)
    runs: list[int] = []

    def work() -> None:
        for attempt in db.sync.attempts(3, isolation="repeatable_read"):
            with attempt:
                db.sync.fetchval("SELECT name FROM things")
                if not runs:
                    other.sync.execute("UPDATE things SET name = 'theirs'")
                runs.append(1)
                db.sync.execute("UPDATE things SET name = name || ', ours'")

    await inside(work)

    assert len(runs) == 2
    assert await db.fetchval("SELECT name FROM things") == "theirs, ours"


@THREADS
async def test_a_pool_of_one_never_locks_itself(url: str, inside: Inside) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        got: list[int] = []

        def work() -> None:
            with db.sync.transaction():
                got.append(db.sync.fetchval("SELECT 1"))
                with db.sync.transaction():
                    db.sync.fetchval("SELECT 1")
            db.sync.execute("SELECT 1")

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(inside, work)

    assert len(got) == 10


async def test_another_thread_is_not_let_into_a_transaction(db: Facade) -> None:
    refused: list[type[Exception]] = []

    def child() -> None:
        try:
            db.sync.fetchval("SELECT 1")
        except TransactionMisuse as error:
            refused.append(type(error))

    async with db.transaction():
        await anyio.to_thread.run_sync(child)

    assert refused == [TransactionMisuse]


async def test_errors_are_the_same(url: str) -> None:
    config = PoolConfig(min=0, max=1, acquire_timeout=0.1)
    async with Database(url, pool=config).open() as db:
        other = Facade(lambda: db.pool, db.meters)

        def work() -> None:
            with pytest.raises(asyncpg.PostgresSyntaxError):
                db.sync.fetch("SELEKT 1")
            with pytest.raises(QueryTimeout):
                db.sync.fetch("SELECT pg_sleep(20)", timeout=0.05)
            with db.sync.transaction(), pytest.raises(PoolTimeout):
                other.sync.fetch("SELECT 1")

        with anyio.fail_after(20):
            await anyio.to_thread.run_sync(work)

    assert db.pool.stats()["in_use"] == 0


async def test_on_a_loops_own_thread_it_refuses_instead_of_waiting_for_itself(db: Facade) -> None:
    with pytest.raises(ConfigurationError, match=r"await db\.fetch"):
        db.sync.fetchval("SELECT 1")


def endpoint(request: Request) -> PlainTextResponse:
    sync = current().sync
    with sync.transaction():
        assert sync.fetchval("SELECT 1") == 1
        return PlainTextResponse(str(sync.fetchval("SELECT 2")))


def on_starlette() -> ASGIApp:
    return Starlette(routes=[Route("/", endpoint)])


def on_fastapi() -> ASGIApp:
    app = FastAPI()
    app.get("/")(endpoint)
    return app


@pytest.mark.parametrize("host", [on_starlette, on_fastapi])
@pytest.mark.parametrize("started", [True, False])
async def test_def_handlers_ask_with_and_without_lifespan(
    url: str, host: Callable[[], ASGIApp], *, started: bool
) -> None:
    layer = Database(url, pool=PoolConfig(min=0))
    app = layer(host())

    if started:
        async with lifespan(app):
            replies = [await get(app) for _ in range(3)]
    else:
        replies = [await get(app) for _ in range(3)]
        pool = layer._opening.handle
        assert pool is not None
        await pool.home.call(pool.aclose)

    assert [reply.body for reply in replies] == [b"2"] * 3


async def test_a_def_handler_streams_a_batch_at_a_time_from_whatever_thread(url: str) -> None:
    def numbers() -> Iterator[str]:
        for row in current().sync.stream("SELECT n FROM generate_series(1, 9) AS n", prefetch=2):
            yield str(row["n"])

    def streaming(request: Request) -> StreamingResponse:
        return StreamingResponse(numbers())

    layer = Database(url, pool=PoolConfig(min=0, max=1))
    app = layer(Starlette(routes=[Route("/", streaming)]))
    async with lifespan(app):
        replies = [await get(app) for _ in range(2)]
        pool = layer._opening.handle
        assert pool is not None
        assert pool.stats()["in_use"] == 0

    assert [reply.body for reply in replies] == [b"123456789"] * 2


async def test_a_stream_that_is_left_gives_its_connection_back(db: Facade) -> None:
    left: list[Iterator[Any]] = []

    def begin() -> None:
        rows = db.sync.stream("SELECT n FROM generate_series(1, 9) AS n", prefetch=2)
        next(rows)
        left.append(rows)

    def leave() -> None:
        for row in db.sync.stream("SELECT n FROM generate_series(1, 9) AS n", prefetch=2):
            if row["n"] == 3:
                break

    await anyio.to_thread.run_sync(leave)
    assert db.pool.stats()["in_use"] == 0
    await anyio.to_thread.run_sync(begin)
    assert db.pool.stats()["in_use"] == 1
    left.clear()  # here, on a loop's thread
    await until(lambda: db.pool.stats()["in_use"] == 0)


async def test_while_the_server_is_away_the_client_gets_503() -> None:
    layer = Database("postgresql://app@/app?host=/nonexistent.internal")
    app = layer(on_starlette())

    async with lifespan(app):
        reply = await get(app)

    assert reply.status == 503


async def test_a_request_that_is_cancelled_ends_what_its_thread_runs(url: str) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        ended: list[BaseException] = []

        def work() -> None:
            try:
                with db.sync.transaction():
                    db.sync.fetchval("SELECT pg_sleep(30)")
            except BaseException as error:
                ended.append(error)
                raise

        with anyio.fail_after(10):
            with anyio.move_on_after(0.2):
                await anyio.to_thread.run_sync(work)
            await until(lambda: db.pool.stats()["in_use"] == 0)
            assert await db.fetchval("SELECT 1") == 1

    assert len(ended) == 1


def test_a_pool_whose_loop_has_ended_does_not_keep_a_thread_waiting(url: str) -> None:
    async def opened() -> Facade:
        async with Database(url, pool=PoolConfig(min=0)).open() as db:
            await db.fetchval("SELECT 1")
            return db

    db = asyncio.run(opened())

    with pytest.raises(DatabaseUnavailable, match="has ended"):
        db.sync.fetchval("SELECT 1")
