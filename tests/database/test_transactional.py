"""`@transactional` on real hosts and a real PostgreSQL: the answer waits for the COMMIT."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import anyio
import asyncpg
import pytest
from fastapi import Depends, FastAPI, HTTPException
from quart import Quart
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware.database import Database, Facade, PoolConfig, current, transactional
from sipup_middleware.errors import ConfigurationError, OutcomeUnknown, TransactionMisuse
from sipup_middleware.telemetry import Telemetry
from tests.asgi import Exchange, get, http_scope, lifespan, request
from tests.database.doubles import until
from tests.database.test_facade import kill

pytestmark = pytest.mark.live

Work = Callable[[], Awaitable[int]]
INSERT = "INSERT INTO things VALUES (1)"
COUNT = "SELECT count(*) FROM things"
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'"


class OopsError(Exception):
    """The user's own."""


def bare(work: Work) -> ASGIApp:
    @transactional
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("done", await work())(scope, receive, send)

    return app


def starlette(work: Work) -> ASGIApp:
    @transactional
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("done", await work())

    return Starlette(routes=[Route("/", endpoint)])


def behind_a_base_middleware(work: Work) -> ASGIApp:
    """Starlette's own, which sends the answer from another task than the handler's."""

    async def pass_on(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    inner = starlette(work)
    return Starlette(
        routes=[Route("/", inner)], middleware=[Middleware(BaseHTTPMiddleware, dispatch=pass_on)]
    )


def fastapi(work: Work) -> ASGIApp:
    app = FastAPI()

    @app.get("/")
    @transactional
    async def endpoint(response: Response, db: Annotated[Facade, Depends(current)]) -> str:
        assert db is current()
        response.status_code = await work()
        return "done"

    return app


HOSTS = pytest.mark.parametrize("host", [bare, starlette, behind_a_base_middleware, fastapi])
Host = Callable[[Work], ASGIApp]


def layer(url: str, **options: Any) -> Database:
    return Database(url, pool=PoolConfig(min=0, max=2), **options)


async def ask(url: str, app: ASGIApp, telemetry: Telemetry | None = None) -> Exchange:
    wrapped = layer(url)(app, telemetry=telemetry)
    async with lifespan(wrapped):
        return await get(wrapped)


async def ask_in_vain(
    url: str, app: ASGIApp, error: type[Exception], telemetry: Telemetry | None = None
) -> Exchange:
    """Ask what raises *error*; return what was sent nevertheless."""
    wrapped = layer(url)(app, telemetry=telemetry)
    exchange = Exchange()
    async with lifespan(wrapped):
        with pytest.raises(error):
            await wrapped(http_scope(), exchange.receive, exchange.send)
    return exchange


async def insert() -> int:
    await current().execute(INSERT)
    return 200


@HOSTS
async def test_an_answer_commits(url: str, db: Facade, table: str, host: Host) -> None:
    reply = await ask(url, host(insert))

    assert (reply.status, await db.fetchval(COUNT)) == (200, 1)


@HOSTS
@pytest.mark.parametrize("status", [400, 404, 500, 503])
async def test_an_error_status_rolls_back(url: str, db: Facade, table: str, host: Host, status: int) -> None:
    async def work() -> int:
        await insert()
        return status

    reply = await ask(url, host(work))

    assert (reply.status, await db.fetchval(COUNT)) == (status, 0)


@HOSTS
async def test_an_exception_rolls_back_and_flies(url: str, db: Facade, table: str, host: Host) -> None:
    async def work() -> int:
        await insert()
        raise OopsError

    await ask_in_vain(url, host(work), OopsError)

    assert await db.fetchval(COUNT) == 0


def quart(work: Work) -> Any:
    """Answers for its handlers' exceptions itself, and for what sending raises not at all."""
    app = Quart(__name__)

    @app.get("/")
    @transactional
    async def endpoint() -> tuple[str, int]:
        return "done", await work()

    return app


async def not_found() -> int:
    await insert()
    return 404


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_on_quart_it_is_the_same(url: str, db: Facade, table: str) -> None:
    committed = await ask(url, quart(insert))
    await db.execute("DELETE FROM things")
    refused = await ask(url, quart(not_found))
    failed = await ask_in_vain(url, quart(insert_twice), asyncpg.UniqueViolationError)

    assert (committed.status, refused.status, failed.status) == (200, 404, 500)
    assert await db.fetchval(COUNT) == 0


async def test_an_exception_that_is_an_answer_rolls_back(url: str, db: Facade, table: str) -> None:
    async def work() -> int:
        await insert()
        raise HTTPException(409)

    reply = await ask(url, fastapi(work))

    assert (reply.status, await db.fetchval(COUNT)) == (409, 0)


async def insert_twice() -> int:
    await insert()
    return await insert()


@HOSTS
async def test_a_deferred_constraint_that_fails_is_500_and_nothing_else_was_sent(
    url: str, db: Facade, table: str, host: Host
) -> None:
    exchange = await ask_in_vain(url, host(insert_twice), asyncpg.UniqueViolationError)

    assert exchange.status == 500
    assert exchange.json()["title"] == "Internal Server Error"
    assert exchange.finished.is_set()
    assert b"done" not in exchange.body
    assert await db.fetchval(COUNT) == 0


@HOSTS
async def test_a_commit_that_meets_an_outage_is_503(url: str, db: Facade, table: str, host: Host) -> None:
    async def work() -> int:
        pid = await current().fetchval("SELECT pg_backend_pid() FROM things RIGHT JOIN (SELECT) AS s ON true")
        await kill(db, pid)
        await anyio.sleep(0.05)
        return 200

    reply = await ask(url, host(work))

    assert reply.status == 503
    assert reply.headers["retry-after"] == "1"


@HOSTS
async def test_a_handler_that_asks_nothing_begins_nothing(host: Host) -> None:
    async def work() -> int:
        assert current().in_transaction
        return 200

    app = Database("postgresql://app@/app?host=/nonexistent.internal")
    reply = await get(app(host(work)))

    assert reply.status == 200
    assert app._opening.handle is None


@HOSTS
async def test_it_is_one_transaction_from_the_first_statement_on(
    url: str, db: Facade, table: str, host: Host
) -> None:
    seen: list[Any] = []

    async def work() -> int:
        xact = "SELECT pg_current_xact_id()::text"
        seen.extend([await current().fetchval(xact), await current().fetchval(xact)])
        return 200

    await ask(url, host(work))

    assert len(set(seen)) == 1


async def test_a_stream_begins_after_the_commit_and_is_outside(url: str, db: Facade, table: str) -> None:
    seen: list[Any] = []

    @transactional
    async def endpoint(request: Request) -> Response:
        await insert()

        async def body() -> Any:
            seen.append((current().in_transaction, await db.fetchval(COUNT)))
            yield b"done"

        return StreamingResponse(body())

    reply = await ask(url, Starlette(routes=[Route("/", endpoint)]))

    assert (reply.status, reply.body) == (200, b"done")
    assert seen == [(False, 1)]


async def test_background_tasks_are_outside_and_see_what_was_committed(
    url: str, db: Facade, table: str
) -> None:
    seen: list[Any] = []

    @transactional
    async def in_the_background() -> None:
        seen.append(current().in_transaction)
        await current().execute("INSERT INTO things VALUES (2)")

    async def look() -> None:
        seen.append((current().in_transaction, await current().fetchval(COUNT)))
        await in_the_background()

    @transactional
    async def endpoint(request: Request) -> Response:
        await insert()
        return PlainTextResponse("done", background=BackgroundTask(look))

    await ask(url, Starlette(routes=[Route("/", endpoint)]))

    assert seen == [(False, 1), True]
    assert await db.fetchval(COUNT) == 2


async def test_a_background_task_is_not_run_where_the_commit_failed(url: str, db: Facade, table: str) -> None:
    ran: list[None] = []

    async def background() -> None:
        ran.append(None)

    @transactional
    async def endpoint(request: Request) -> Response:
        await insert_twice()
        return PlainTextResponse("done", background=BackgroundTask(background))

    await ask_in_vain(url, Starlette(routes=[Route("/", endpoint)]), asyncpg.UniqueViolationError)

    assert ran == []


async def test_what_was_promised_is_kept_before_the_answer(url: str, db: Facade, table: str) -> None:
    log: list[str] = []

    @transactional
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def keep() -> None:
            log.append("kept")

        current().after_commit(keep)
        await insert()
        await PlainTextResponse("")(scope, receive, send)
        log.append("answered")

    await ask(url, app)

    assert log == ["kept", "answered"]


async def test_a_task_of_the_handler_is_not_let_in(url: str) -> None:
    refused: list[type[Exception]] = []

    async def child(db: Facade) -> None:
        try:
            await db.fetchval("SELECT 1")
        except TransactionMisuse as error:
            refused.append(type(error))

    async def work() -> int:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child, current())
        return 200

    await ask(url, bare(work))

    assert refused == [TransactionMisuse]


async def test_an_inner_transactional_is_a_savepoint(url: str, db: Facade, table: str) -> None:
    @transactional
    async def inner() -> None:
        await current().execute("INSERT INTO things VALUES (7)")
        raise OopsError

    async def work() -> int:
        with pytest.raises(OopsError):
            await inner()
        return await insert()

    await ask(url, bare(work))

    assert [row["id"] for row in await db.fetch("SELECT id FROM things")] == [1]


async def test_a_begin_that_failed_may_be_tried_again(url: str, db: Facade, table: str) -> None:
    async def work() -> int:
        facade = current()
        with pytest.raises(OSError, match="the pool of this test"):
            await broken_once(facade)
        return await insert()

    reply = await ask(url, bare(work))

    assert (reply.status, await db.fetchval(COUNT)) == (200, 1)


async def broken_once(facade: Facade) -> None:
    acquire = facade.pool.acquire

    async def refuse(patience: float | None = None) -> Any:
        raise OSError("the pool of this test")

    facade.pool.acquire = refuse  # type: ignore[method-assign]  # (an outage of one call)
    try:
        await insert()
    finally:
        facade.pool.acquire = acquire  # type: ignore[method-assign]  # (as it was)


async def test_an_answer_that_never_comes_rolls_back(url: str, db: Facade, table: str) -> None:
    @transactional
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await insert()

    wrapped = layer(url)(app)
    async with lifespan(wrapped):
        await wrapped(http_scope(), Exchange().receive, Exchange().send)
        with anyio.fail_after(10):
            while await db.fetchval(OPEN):  # noqa: ASYNC110 (it polls the server)
                await anyio.sleep(0.01)

    assert await db.fetchval(COUNT) == 0


async def test_a_websocket_commits_when_the_handler_returns(url: str, db: Facade, table: str) -> None:
    seen: list[int] = []

    @transactional
    async def said() -> None:
        await insert()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await said()
        seen.append(await db.fetchval(COUNT))

    async def unexpected(*args: Any) -> Any:
        raise AssertionError

    await layer(url)(app)({"type": "websocket", "headers": []}, unexpected, unexpected)

    assert seen == [1]


@pytest.mark.parametrize("host", [starlette, fastapi])
async def test_a_def_handler_is_served_from_its_thread(
    url: str, db: Facade, table: str, host: Callable[..., ASGIApp]
) -> None:
    @transactional
    def endpoint(request: Request) -> Response:
        sync = current().sync
        sync.execute(INSERT)
        sync.execute("INSERT INTO things VALUES ($1)", int(request.query_params["second"]))
        return PlainTextResponse("done")

    if host is starlette:
        app: Any = Starlette(routes=[Route("/", endpoint)])
    else:
        app = FastAPI()
        app.get("/")(endpoint)
    wrapped = layer(url)(app)

    async with lifespan(wrapped):
        with pytest.raises(asyncpg.UniqueViolationError):
            await get(wrapped, query="second=1")
        failed = await db.fetchval(COUNT)
        reply = await get(wrapped, query="second=2")

    assert (failed, reply.status, await db.fetchval(COUNT)) == (0, 200, 2)


async def test_a_def_handler_that_raises_rolls_back(url: str, db: Facade, table: str) -> None:
    @transactional
    def endpoint(request: Request) -> Response:
        current().sync.execute(INSERT)
        raise OopsError

    await ask_in_vain(url, Starlette(routes=[Route("/", endpoint)]), OopsError)

    assert await db.fetchval(COUNT) == 0


async def test_in_a_def_handler_an_inner_one_is_a_savepoint(url: str, db: Facade, table: str) -> None:
    @transactional
    def inner(number: int) -> None:
        current().sync.execute("INSERT INTO things VALUES ($1)", number)
        if number == 2:
            raise OopsError

    @transactional
    def endpoint(request: Request) -> Response:
        inner(1)
        with pytest.raises(OopsError):
            inner(2)
        return PlainTextResponse("done")

    await ask(url, Starlette(routes=[Route("/", endpoint)]))

    assert [row["id"] for row in await db.fetch("SELECT id FROM things")] == [1]


async def test_a_commit_that_is_cut_off_is_a_plain_500(url: str, db: Facade, table: str) -> None:
    await db.execute("""
        CREATE FUNCTION perish() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$
    """)
    await db.execute("""
        CREATE CONSTRAINT TRIGGER last_words AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION perish()
    """)
    try:
        exchange = await ask_in_vain(url, starlette(insert), OutcomeUnknown)
    finally:
        await db.execute("DROP FUNCTION perish CASCADE")

    assert exchange.status == 500
    assert "retry-after" not in exchange.headers


async def test_a_request_that_is_cancelled_rolls_back(url: str, db: Facade, table: str) -> None:
    async def work() -> int:
        await insert()
        await anyio.sleep(30)
        return 200

    wrapped = layer(url)(bare(work))
    async with lifespan(wrapped):
        with anyio.move_on_after(0.3):
            await get(wrapped)
        with anyio.fail_after(10):
            while await db.fetchval(OPEN):  # noqa: ASYNC110 (it polls the server)
                await anyio.sleep(0.01)

    assert await db.fetchval(COUNT) == 0


async def test_random_cancellations_leak_no_connection(url: str, db: Facade, table: str) -> None:
    luck = random.Random(7)  # noqa: S311 (no secret)
    one = layer(url)
    app = one(starlette(work_a_little))

    async def client() -> None:
        with anyio.move_on_after(luck.random() / 30):
            await get(app)

    async with lifespan(app):
        for _ in range(15):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(client)
        pool = one._opening.handle
        assert pool is not None
        await until(lambda: pool.stats()["in_use"] == 0)
        assert await db.fetchval(OPEN) == 0


async def work_a_little() -> int:
    await current().fetchval("SELECT pg_sleep(0.002)")
    await current().fetchval("SELECT pg_sleep(0.002)")
    return 200


def test_what_it_cannot_do_is_refused_when_it_is_written() -> None:
    def endpoint() -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match=r"transactional\.retry must be at least 1"):
        transactional(retry=0)
    with pytest.raises(ConfigurationError, match="isolation must be one of"):
        transactional(isolation="chaos")  # type: ignore[call-overload]  # (nonsense on purpose)
    with pytest.raises(ConfigurationError, match=r"sync\.attempts"):
        transactional(retry=2)(endpoint)


async def test_outside_a_request_it_says_so() -> None:
    @transactional
    async def lonely() -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="no request"):
        await lonely()


class Rivals:
    """Two serializable bodies that read what the other writes, *often* times over."""

    def __init__(self, db: Facade, times: int) -> None:
        self.db = db
        self.times = times
        self.runs = 0

    async def __call__(self) -> int:
        """Read, let another transaction write and commit, then write: refused by the server."""
        self.runs += 1
        await current().fetchval("SELECT name FROM things WHERE id = 1")
        if self.runs <= self.times:
            await self.db.execute("UPDATE things SET name = coalesce(name, '') || 'x' WHERE id = 1")
        await current().execute("UPDATE things SET name = 'mine' WHERE id = 1")
        return 200


def retried(work: Work) -> ASGIApp:
    @transactional(retry=3, isolation="repeatable_read")
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        await PlainTextResponse(body, await work())(scope, receive, send)

    return app


def retried_on_starlette(work: Work) -> ASGIApp:
    @transactional(retry=3, isolation="repeatable_read")
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(await request.body(), await work())

    return Starlette(routes=[Route("/", endpoint, methods=["POST"])])


RETRIED = pytest.mark.parametrize("host", [retried, retried_on_starlette])


@RETRIED
async def test_a_handler_that_others_were_in_the_way_of_runs_again(
    url: str, db: Facade, table: str, host: Host
) -> None:
    await insert_by(db)
    work = Rivals(db, times=2)
    app = layer(url)(host(work))

    async with lifespan(app):
        reply = await request(app, method="POST", body=b"said once")

    assert (reply.status, reply.body, work.runs) == (200, b"said once", 3)
    assert await db.fetchval("SELECT name FROM things") == "mine"


async def insert_by(db: Facade) -> None:
    await db.execute("INSERT INTO things VALUES (1)")


@RETRIED
async def test_not_more_often_than_allowed(url: str, db: Facade, table: str, host: Host) -> None:
    await insert_by(db)
    work = Rivals(db, times=9)
    app = layer(url)(host(work))

    async with lifespan(app):
        with pytest.raises(asyncpg.SerializationError):
            await request(app, method="POST")

    assert work.runs == 3


async def skewed(db: Facade) -> None:
    """What makes a serializable transaction that has read and written fail at its COMMIT."""
    async with db.transaction("serializable"):
        await db.fetch(COUNT)
        await db.execute("INSERT INTO things VALUES ((SELECT max(id) + 1 FROM things))")


@pytest.mark.parametrize("kind", ["bare", "starlette"])
async def test_a_commit_that_others_were_in_the_way_of_runs_the_handler_again(
    url: str, db: Facade, table: str, kind: str
) -> None:
    await insert_by(db)
    runs: list[int] = []

    async def work() -> None:
        runs.append(await current().fetchval(COUNT))
        await current().execute("INSERT INTO things VALUES ((SELECT max(id) + 100 FROM things))")
        if len(runs) == 1:
            await skewed(db)

    @transactional(retry=3, isolation="serializable")
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await work()
        await PlainTextResponse("done")(scope, receive, send)

    @transactional(retry=3, isolation="serializable")
    async def endpoint(request: Request) -> Response:
        await work()
        return PlainTextResponse("done")

    reply = await ask(url, app if kind == "bare" else Starlette(routes=[Route("/", endpoint)]))

    assert (reply.status, runs) == (200, [1, 2])
    assert len(reply.chunks) == 1
    assert await db.fetchval(COUNT) == 3


async def test_retried_an_error_status_rolls_back_too(url: str, db: Facade, table: str) -> None:
    @transactional(retry=3)
    async def endpoint(request: Request) -> Response:
        await insert()
        return PlainTextResponse("no", 422)

    reply = await ask(url, Starlette(routes=[Route("/", endpoint)]))

    assert (reply.status, await db.fetchval(COUNT)) == (422, 0)


async def test_a_failed_commit_is_counted_as_rolled_back(url: str, db: Facade, table: str) -> None:
    telemetry = Telemetry()

    await ask_in_vain(url, bare(insert_twice), asyncpg.UniqueViolationError, telemetry)
    await ask(url, bare(insert), telemetry)

    assert telemetry.counter("db.transactions", outcome="committed").value == 1
    assert telemetry.counter("db.transactions", outcome="rolled_back").value == 1


async def test_a_body_after_a_start_that_was_kept_back_is_dropped(url: str, db: Facade, table: str) -> None:
    @transactional
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await insert_twice()
        with pytest.raises(asyncpg.UniqueViolationError):
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"as if nothing had been"})

    reply = await ask(url, app)

    assert reply.status == 500
    assert b"as if" not in reply.body


async def test_what_the_handler_says_of_a_failed_commit_is_sent(url: str, db: Facade, table: str) -> None:
    @transactional
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await insert_twice()
        try:
            await PlainTextResponse("done")(scope, receive, send)
        except asyncpg.UniqueViolationError:
            await PlainTextResponse("taken", 409)(scope, receive, send)

    reply = await ask(url, app)

    assert (reply.status, reply.body) == (409, b"taken")
