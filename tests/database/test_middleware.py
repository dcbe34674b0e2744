"""The layer around an app: on a bare callable and on Starlette, with and without lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware.database import Database, Facade, PoolConfig, current
from sipup_middleware.database.facade import Facade as FacadeClass
from sipup_middleware.errors import ConfigurationError, TransactionMisuse
from sipup_middleware.stack import Stack
from sipup_middleware.telemetry import BackendLost, Fact, Telemetry
from tests.asgi import get, hello, lifespan

pytestmark = pytest.mark.live

NOWHERE = "postgresql://app:hunter2@/app?host=/nonexistent.internal&port=5432"
Handler = Callable[[Facade], Awaitable[object]]


def bare(handle: Handler) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await JSONResponse(await handle(current()))(scope, receive, send)

    return app


def starlette(handle: Handler) -> ASGIApp:
    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await handle(request.state.sipup.db))

    return Starlette(routes=[Route("/", endpoint)])


HOSTS = pytest.mark.parametrize("host", [bare, starlette])


@asynccontextmanager
async def closing(layer: Database) -> AsyncIterator[None]:
    """Close what a layer without lifespan opened lazily, instead of at the process's end."""
    try:
        yield
    finally:
        if (pool := layer._opening.handle) is not None:
            await pool.home.call(pool.aclose)


async def one(db: Facade) -> object:
    return await db.fetchval("SELECT 1")


@HOSTS
async def test_a_request_asks_the_database(url: str, host: Callable[[Handler], ASGIApp]) -> None:
    app = Database(url, pool=PoolConfig(min=1))(host(one))

    async with lifespan(app):
        reply = await get(app)

    assert (reply.status, reply.json()) == (200, 1)


async def test_a_request_that_asks_nothing_opens_nothing() -> None:
    layer = Database(NOWHERE)

    reply = await get(layer(hello))

    assert reply.body == b"hello"
    assert layer._opening.handle is None


@HOSTS
async def test_without_lifespan_the_pool_opens_at_the_first_use(
    url: str, host: Callable[[Handler], ASGIApp]
) -> None:
    layer = Database(url)
    app = layer(host(one))

    async with closing(layer):
        replies = [await get(app) for _ in range(3)]
        pool = layer._opening.handle

        assert [reply.json() for reply in replies] == [1, 1, 1]
        assert pool is not None
        assert pool.stats()["idle"] == 1


def test_without_lifespan_each_request_may_have_a_loop_of_its_own(url: str) -> None:
    layer = Database(url)
    app = layer(bare(one))

    replies = [asyncio.run(get(app)).json() for _ in range(3)]

    assert replies == [1, 1, 1]
    asyncio.run(closing(layer).__aenter__())
    pool = layer._opening.handle
    assert pool is not None
    asyncio.run(pool.home.call(pool.aclose))


@HOSTS
@pytest.mark.parametrize("started", [True, False])
async def test_while_the_server_is_away_the_client_gets_503(
    host: Callable[[Handler], ASGIApp], *, started: bool
) -> None:
    layer = Database(NOWHERE)
    app = layer(host(one))

    if started:
        async with lifespan(app):
            reply = await get(app)
    else:
        async with closing(layer):
            reply = await get(app)

    assert reply.status == 503
    assert reply.headers["retry-after"] == "1"
    for secret in (b"hunter2", b"internal", b"SELECT", b"Traceback"):
        assert secret not in reply.body


async def test_a_server_that_is_away_is_told_once_and_fails_the_check() -> None:
    facts: list[Fact] = []
    telemetry = Telemetry(observers=[facts.append])
    app = Database(NOWHERE)(bare(one), telemetry=telemetry)

    async with lifespan(app):
        await get(app)
        await get(app)
        with pytest.raises(OSError, match="out of reach"):
            await telemetry.checks["postgres:ping"].probe()

    assert facts == [BackendLost("database", "FileNotFoundError")]


@HOSTS
async def test_an_exhausted_pool_is_503(url: str, host: Callable[[Handler], ASGIApp]) -> None:
    telemetry = Telemetry()
    config = PoolConfig(min=0, max=1, acquire_timeout=0.05)
    app = Database(url, pool=config)(host(slow), telemetry=telemetry)

    async with lifespan(app), anyio.create_task_group() as tasks:
        replies: list[Any] = []

        async def ask() -> None:
            replies.append(await get(app))

        tasks.start_soon(ask)
        tasks.start_soon(ask)

    assert sorted(reply.status for reply in replies) == [200, 503]
    assert telemetry.counter("db.pool_timeouts").value == 1


async def slow(db: Facade) -> object:
    return await db.fetchval("SELECT 1 FROM pg_sleep(0.5)")


async def too_slow(db: Facade) -> object:
    return await db.fetchval("SELECT 1 FROM pg_sleep(30)", timeout=0.05)


@HOSTS
async def test_a_statement_past_its_time_is_504(url: str, host: Callable[[Handler], ASGIApp]) -> None:
    app = Database(url, pool=PoolConfig(min=0))(host(too_slow))

    async with lifespan(app):
        reply = await get(app)

    assert reply.status == 504
    assert b"pg_sleep" not in reply.body


async def test_the_handlers_own_answer_to_an_outage_is_left_alone() -> None:
    async def endpoint(request: Request) -> PlainTextResponse:
        try:
            await one(request.state.sipup.db)
        except OSError:
            return PlainTextResponse("from memory")
        raise AssertionError

    layer = Database(NOWHERE)
    app = layer(Starlette(routes=[Route("/", endpoint)]))

    async with closing(layer):
        reply = await get(app)

    assert (reply.status, reply.body) == (200, b"from memory")


async def test_fastapi_takes_current_as_a_dependency(url: str) -> None:
    fastapi = FastAPI()

    async def endpoint(db: Annotated[FacadeClass, Depends(current)]) -> int:
        return int(await db.fetchval("SELECT 1"))

    endpoint.__annotations__ = {"db": Annotated[FacadeClass, Depends(current)], "return": int}
    fastapi.get("/")(endpoint)
    app = Database(url, pool=PoolConfig(min=0))(fastapi)

    async with lifespan(app):
        reply = await get(app)

    assert reply.json() == 1


async def test_current_outside_a_request_or_without_the_layer_says_so() -> None:
    with pytest.raises(ConfigurationError, match="no request"):
        current()


async def test_a_websocket_holds_nothing_between_its_messages(url: str) -> None:
    layer = Database(url, pool=PoolConfig(min=0))
    in_use: list[float] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return
        for _ in range(3):
            await current().fetchval("SELECT 1")
            pool = layer._opening.handle
            assert pool is not None
            in_use.append(pool.stats()["in_use"])

    wrapped = layer(app)
    async with lifespan(wrapped):
        await wrapped({"type": "websocket", "headers": []}, unexpected, unexpected)

    assert in_use == [0, 0, 0]


async def unexpected(*args: Any) -> Any:
    raise AssertionError


async def test_a_background_task_is_outside_the_requests_transaction(url: str) -> None:
    pids: list[int] = []

    async def afterwards(db: Facade) -> None:
        pids.append(await db.fetchval("SELECT pg_backend_pid()"))
        assert await db.fetchval("SELECT pg_current_xact_id_if_assigned() IS NULL")

    async def endpoint(request: Request) -> PlainTextResponse:
        db = request.state.sipup.db
        async with db.transaction():
            await db.fetchval("SELECT pg_current_xact_id()")
        return PlainTextResponse("", background=BackgroundTask(afterwards, db))

    app = Database(url, pool=PoolConfig(min=0))(Starlette(routes=[Route("/", endpoint)]))
    async with lifespan(app):
        await get(app)

    assert len(pids) == 1


async def test_a_transaction_left_open_by_a_stray_task_ends_with_the_request(url: str) -> None:
    layer = Database(url, pool=PoolConfig(min=0))
    opened, go = anyio.Event(), anyio.Event()
    errors: list[Exception] = []

    async def stray(db: Facade) -> None:
        try:
            async with db.transaction():
                await db.execute("CREATE TABLE stray (i int)")
                opened.set()
                await go.wait()
                await db.execute("SELECT 1")
        except TransactionMisuse as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:

        async def handle(db: Facade) -> object:
            tasks.start_soon(stray, db)
            await opened.wait()
            return "done"

        app = layer(bare(handle))
        async with lifespan(app):
            assert (await get(app)).json() == "done"
            go.set()
            async with layer.open() as db:
                assert await db.fetchval("SELECT to_regclass('stray') IS NULL")

    assert len(errors) == 1


async def test_what_happened_is_counted(url: str) -> None:
    telemetry = Telemetry()

    async def handle(db: Facade) -> object:
        async with db.transaction():
            await db.fetch("SELECT 1")
        with pytest.raises(ZeroDivisionError):
            async with db.transaction():
                raise ZeroDivisionError
        with pytest.raises(Exception, match="nope"):
            await db.fetch("SELECT nope")
        return None

    app = Database(url, pool=PoolConfig(min=2, max=3))(bare(handle), telemetry=telemetry)
    async with lifespan(app):
        await get(app)
        gauges = {labels["state"]: value for labels, value in telemetry.gauges("db.pool")}
        ping = await telemetry.checks["postgres:ping"].probe()
        room = await telemetry.checks["postgres:pool"].probe()

    assert telemetry.counter("db.queries", outcome="ok").value == 1
    assert telemetry.counter("db.queries", outcome="error").value == 1
    assert telemetry.counter("db.transactions", outcome="committed").value == 1
    assert telemetry.counter("db.transactions", outcome="rolled_back").value == 1
    assert telemetry.histogram("db.query").count == telemetry.histogram("db.acquire").count == 1
    assert gauges == {"max": 3, "in_use": 0, "idle": 2, "waiting": 0}
    assert ping is not None
    assert room is not None
    assert (ping.status, ping.unit, room.status) == ("pass", "ms", "pass")


async def test_one_layer_on_two_apps_has_one_pool_and_a_stack_lends_it(url: str) -> None:
    layer = Database(url, pool=PoolConfig(min=1, max=2))
    first, second = layer(bare(one)), layer(bare(one))

    async with lifespan(first), lifespan(second), Stack(layer).open() as resources:
        await get(first)
        await get(second)
        assert resources.db is not None
        assert resources.db.pool is layer._opening.handle
        assert resources.db.pool.stats()["idle"] == 1
