"""Where the client has left, what runs for it ends; whoever reads the request's messages misses none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware.database import Database, Facade, PoolConfig, current
from sipup_middleware.database.disconnect import Client
from sipup_middleware.errors import ClientDisconnected
from tests.asgi import Exchange, http_scope, lifespan
from tests.database.doubles import until

pytestmark = pytest.mark.live

SLEEP = "SELECT 'left alone' FROM pg_sleep(30)"
RUNNING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE query LIKE '%left alone%' AND state = 'active' AND pid <> pg_backend_pid()
"""


@dataclass
class Caller:
    """A client that leaves when it is told to, and a server that lets one reader in at a time."""

    unread: list[Message] = field(default_factory=lambda: [{"type": "http.request", "body": b""}])
    sent: list[Message] = field(default_factory=list)
    reads: int = 0
    reading: bool = False
    left: anyio.Event = field(default_factory=anyio.Event)

    async def receive(self) -> Message:
        assert not self.reading, "two readers at once"
        self.reads += 1
        if self.unread:
            return self.unread.pop(0)
        self.reading = True
        try:
            await self.left.wait()
        finally:
            self.reading = False
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


def layer(url: str) -> Database:
    return Database(url, pool=PoolConfig(min=0, max=2), cancel_on_disconnect=True)


async def leave_while_it_runs(app: ASGIApp, db: Facade, caller: Caller) -> None:
    """Ask, leave once the statement runs, and wait for both to end."""

    async def leave() -> None:
        while not await db.fetchval(RUNNING):  # noqa: ASYNC110 (it polls the server)
            await anyio.sleep(0.01)
        caller.left.set()

    async with lifespan(app):
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(leave)
                await app(http_scope(), caller.receive, caller.send)
            while await db.fetchval(RUNNING):  # noqa: ASYNC110 (it polls the server)
                await anyio.sleep(0.005)


async def simple(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await current().fetchval(SLEEP)


async def in_a_transaction(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        async with current().transaction():
            await current().fetchval(SLEEP)


async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        async for _ in current().stream(SLEEP):
            raise AssertionError


async def having_read_the_request(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await receive()
        await simple(scope, receive, send)


async def listening_itself(scope: Scope, receive: Receive, send: Send) -> None:
    """As Starlette's streaming responses do."""
    if scope["type"] != "http":
        return

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await simple(scope, receive, send)


async def host(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.state.sipup.db.fetchval(SLEEP))


APPS = [
    simple,
    in_a_transaction,
    streaming,
    having_read_the_request,
    listening_itself,
    Starlette(routes=[Route("/", host)]),
]


@pytest.mark.parametrize("app", APPS, ids=lambda app: getattr(app, "__name__", "starlette"))
async def test_a_statement_ends_when_the_client_leaves(url: str, db: Facade, app: ASGIApp) -> None:
    wrapped, caller = layer(url), Caller()

    await leave_while_it_runs(wrapped(app), db, caller)

    assert [each["status"] for each in caller.sent if each["type"] == "http.response.start"] == [499]


async def test_it_is_off_unless_it_was_asked_for(url: str, db: Facade) -> None:
    caller = Caller()
    caller.left.set()
    app = Database(url, pool=PoolConfig(min=0))(short)

    async with lifespan(app):
        await app(http_scope(), caller.receive, caller.send)

    assert caller.reads == 0
    assert caller.sent[0]["status"] == 200


async def short(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await current().fetchval("SELECT 1 FROM pg_sleep(0.2)")
        await PlainTextResponse("done")(scope, receive, send)


async def test_a_statement_that_is_quick_reads_nothing(url: str) -> None:
    caller = Caller()

    async def quick(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for _ in range(5):
                await current().fetchval("SELECT 1")
            await PlainTextResponse("done")(scope, receive, send)

    app = layer(url)(quick)
    async with lifespan(app):
        await current_pool_is_warm(app)
        await app(http_scope(), caller.receive, caller.send)

    assert caller.reads == 0


async def current_pool_is_warm(app: ASGIApp) -> None:
    exchange = Exchange()
    await app(http_scope(), exchange.receive, exchange.send)


@pytest.mark.parametrize("pieces", [1, 2, 5])
async def test_what_was_read_meanwhile_is_handed_on(url: str, pieces: int) -> None:
    body: list[Message] = [
        {"type": "http.request", "body": b"%d" % n, "more_body": n < pieces - 1} for n in range(pieces)
    ]
    caller = Caller(unread=[*body])
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await current().fetchval("SELECT 1 FROM pg_sleep(0.15)")
            got.append(await receive())
            await current().fetchval("SELECT 1 FROM pg_sleep(0.15)")
            got.extend([await receive() for _ in range(pieces - 1)])
            caller.left.set()
            got.append(await receive())
            got.append(await receive())
            await PlainTextResponse("done")(scope, receive, send)

    wrapped = layer(url)(app)
    async with lifespan(wrapped):
        with anyio.fail_after(10):
            await wrapped(http_scope(), caller.receive, caller.send)

    assert got == [*body, {"type": "http.disconnect"}, {"type": "http.disconnect"}]


async def test_of_a_body_no_more_is_read_ahead_than_is_needed_to_hear_the_goodbye(url: str) -> None:
    body: list[Message] = [{"type": "http.request", "body": b"x" * 30_000, "more_body": True}] * 9
    caller = Caller(unread=[*body])
    app = layer(url)(short)

    async with lifespan(app):
        await app(http_scope(), caller.receive, caller.send)

    assert caller.reads == 3


async def test_after_the_answer_the_client_may_go(url: str, db: Facade) -> None:
    done: list[object] = []

    async def afterwards(facade: Facade) -> None:
        done.append(await facade.fetchval("SELECT 1 FROM pg_sleep(0.2)"))

    async def endpoint(request: Request) -> PlainTextResponse:
        facade = request.state.sipup.db
        return PlainTextResponse("done", background=BackgroundTask(afterwards, facade))

    caller = Caller()
    caller.left.set()
    app = layer(url)(Starlette(routes=[Route("/", endpoint)]))
    async with lifespan(app):
        await app(http_scope(), caller.receive, caller.send)

    assert done == [1]


async def test_while_it_is_streamed_to_the_client_may_not_go(url: str, db: Facade) -> None:
    ended: list[type[BaseException]] = []

    async def endpoint(request: Request) -> StreamingResponse:
        facade = request.state.sipup.db

        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            try:
                await facade.fetchval(SLEEP)
            except BaseException as error:
                ended.append(type(error))
                raise

        return StreamingResponse(body())

    await leave_while_it_runs(layer(url)(Starlette(routes=[Route("/", endpoint)])), db, Caller())

    assert ended == [ClientDisconnected]


async def test_a_handler_may_clean_up_after_it(url: str, db: Facade, table: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                await current().fetchval(SLEEP)
            except ClientDisconnected:
                await current().execute("INSERT INTO things VALUES (1)")

    await leave_while_it_runs(layer(url)(app), db, Caller())

    assert await db.fetchval("SELECT count(*) FROM things") == 1


async def test_the_connection_is_used_again(url: str, db: Facade) -> None:
    one = layer(url)
    app = one(simple)

    await leave_while_it_runs(app, db, Caller())

    assert one._opening.handle is None
    assert await db.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'") == 0


async def test_a_waiter_that_is_cancelled_loses_no_message() -> None:
    caller = Caller(unread=[])
    client = Client(caller.receive, caller.send)

    async def forever() -> None:
        await anyio.sleep(60)

    async def cut_short() -> None:
        with anyio.move_on_after(0.2):
            await client.while_there(forever)

    with anyio.fail_after(10):
        await cut_short()
        with anyio.move_on_after(0.05):
            await client.receive()
        caller.left.set()
        got = await client.receive()
    client.close()

    assert got == {"type": "http.disconnect"}
    assert client.gone


async def test_what_returns_in_time_is_returned() -> None:
    caller = Caller(unread=[])
    client = Client(caller.receive, caller.send)

    async def one(value: int) -> int:
        await anyio.sleep(0.1)
        return value

    assert await client.while_there(one, 1) == 1
    await until(lambda: caller.reading)
    client.close()
    await until(lambda: not caller.reading)
