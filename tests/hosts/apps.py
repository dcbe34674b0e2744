"""The shop on four hosts, each in its own words, and how each is wrapped in the stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import orjson
import pytest
from fastapi import Body, Depends, FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from quart import Quart, ResponseReturnValue
from quart import Response as Streamed
from quart import request as asked
from quart import websocket as socket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from sipup_middleware import Stack, database, jobs
from sipup_middleware.database import Facade
from sipup_middleware.jobs import OpenJobs
from tests.conftest import BACKENDS
from tests.hosts.shop import Shop

__all__ = (
    "BARE",
    "CALLED",
    "FASTAPI",
    "HOSTS",
    "PROPAGATING",
    "QUART",
    "STARLETTE",
    "Host",
    "on_their_loops",
)

Db = Annotated[Facade, Depends(database.current)]
Queue = Annotated[OpenJobs, Depends(jobs.current)]
Wish = Annotated[dict[str, Any], Body()]


def bare(shop: Shop) -> ASGIApp:
    """Finds its routes by hand, tells them by hand, and raises on lifespan."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"], scope.get("path"):
            case "http", "/stream":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                async for chunk in shop.ticks():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body"})
            case "http", _:
                shown = await _shown(shop, scope, Request(scope, receive))
                await JSONResponse(shown, 200 if shown else 404)(scope, receive, send)
            case "websocket", _:
                await _talk(shop, receive, send)
            case other, _:
                raise NotImplementedError(other)

    return app


async def _shown(shop: Shop, scope: Scope, request: Request) -> dict[str, Any] | None:
    sipup = scope["sipup"]
    match scope["method"], scope["path"].split("/")[1:]:
        case "GET", ["items", number]:
            scope["path_template"] = "/items/{id}"
            return await shop.read(database.current(), int(number))
        case "PUT", ["items", number]:
            return await shop.change(sipup.db, sipup.store, int(number), await request.json())
        case "POST", ["items"]:
            return await shop.make(sipup.db, sipup.jobs, await request.json())
        case "GET", ["boom"]:
            await shop.boom()
        case "GET", ["away"]:
            return await shop.away(jobs.current())
    return None


async def _talk(shop: Shop, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        shown = await shop.read(database.current(), int(message["text"]))
        await send({"type": "websocket.send", "text": orjson.dumps(shown).decode()})


def starlette(shop: Shop) -> Starlette:  # noqa: C901 (one handler after the other)
    async def read(request: Request) -> Response:
        return JSONResponse(await shop.read(database.current(), request.path_params["id"]))

    async def change(request: Request) -> Response:
        sipup, number = request.state.sipup, request.path_params["id"]
        return JSONResponse(await shop.change(sipup.db, sipup.store, number, await request.json()))

    async def make(request: Request) -> Response:
        sipup = request.state.sipup
        return JSONResponse(await shop.make(sipup.db, sipup.jobs, await request.json()))

    async def boom(request: Request) -> Response:
        await shop.boom()
        return Response()

    async def away(request: Request) -> Response:
        return JSONResponse(await shop.away(jobs.current()))

    async def stream(request: Request) -> Response:
        return StreamingResponse(shop.ticks())

    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_json(await shop.read(websocket.state.sipup.db, int(text)))

    return Starlette(
        routes=[
            Route("/items/{id:int}", read),
            Route("/items/{id:int}", change, methods=["PUT"]),
            Route("/items", make, methods=["POST"]),
            Route("/boom", boom),
            Route("/away", away),
            Route("/stream", stream),
            WebSocketRoute("/ws", ws),
        ]
    )


def fastapi(shop: Shop) -> FastAPI:  # noqa: C901 (one handler after the other)
    app = FastAPI()

    @app.get("/items/{number}")
    async def read(number: int, db: Db) -> dict[str, Any]:
        return await shop.read(db, number)

    @app.put("/items/{number}")
    async def change(number: int, wish: Wish, db: Db, request: Request) -> dict[str, Any]:
        return await shop.change(db, request.state.sipup.store, number, wish)

    @app.post("/items")
    async def make(wish: Wish, db: Db, queue: Queue) -> dict[str, Any]:
        return await shop.make(db, queue, wish)

    @app.get("/boom")
    async def boom() -> None:
        await shop.boom()

    @app.get("/away")
    async def away(queue: Queue) -> dict[str, Any]:
        return await shop.away(queue)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(shop.ticks())

    @app.websocket("/ws")
    async def ws(websocket: FastAPIWebSocket, db: Db) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_json(await shop.read(db, int(text)))

    return app


def quart(shop: Shop) -> Quart:  # noqa: C901 (one handler after the other)
    app = Quart(__name__)

    @app.before_request
    async def tell_the_route() -> None:
        _scope(asked)["path_template"] = asked.url_rule and asked.url_rule.rule

    @app.get("/items/<int:number>")
    async def read(number: int) -> ResponseReturnValue:
        return await shop.read(database.current(), number)

    @app.put("/items/<int:number>")
    async def change(number: int) -> ResponseReturnValue:
        sipup = _scope(asked)["sipup"]
        return await shop.change(sipup.db, sipup.store, number, await asked.get_json())

    @app.post("/items")
    async def make() -> ResponseReturnValue:
        sipup = _scope(asked)["sipup"]
        return await shop.make(sipup.db, sipup.jobs, await asked.get_json())

    @app.get("/boom")
    async def boom() -> ResponseReturnValue:
        await shop.boom()
        return ""

    @app.get("/away")
    async def away() -> ResponseReturnValue:
        return await shop.away(jobs.current())

    @app.get("/stream")
    async def stream() -> Streamed:
        return Streamed(shop.ticks())

    @app.websocket("/ws")
    async def ws() -> None:
        await socket.accept()
        while True:
            await socket.send_json(await shop.read(_scope(socket)["sipup"].db, int(await socket.receive())))

    return app


def _scope(connection: Any) -> dict[str, Any]:
    """Return what Quart keeps as a type that knows no keys but the server's."""
    return connection.scope  # type: ignore[no-any-return]  # (a dict it is)


def propagating(shop: Shop) -> Quart:
    """Let errors through to the server, as Quart does only when told."""
    app = quart(shop)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    return app


def called(stack: Stack, app: ASGIApp) -> ASGIApp:
    return stack(app)


def added(stack: Stack, app: Any) -> ASGIApp:
    app.add_middleware(stack)
    return app  # type: ignore[no-any-return]  # (Starlette's and FastAPI's)


@dataclass(frozen=True)
class Host:
    """A host, and how the stack comes around it."""

    name: str
    build: Callable[[Shop], Any]
    mount: Callable[[Stack, Any], ASGIApp]
    label: str
    """What the metrics call its page of an item."""

    asyncio_only: bool = False

    def wrapped(self, stack: Stack, shop: Shop | None = None) -> ASGIApp:
        return self.mount(stack, self.build(shop or Shop()))


BARE = Host("bare", bare, called, "/items/{id}")
STARLETTE = Host("starlette", starlette, added, "/items/{id}")
FASTAPI = Host("fastapi", fastapi, added, "/items/{number}")
QUART = Host("quart", quart, called, "/items/<int:number>", asyncio_only=True)
HOSTS = (BARE, STARLETTE, FASTAPI, QUART)

CALLED = (
    replace(STARLETTE, name="starlette-called", mount=called),
    replace(FASTAPI, name="fastapi-called", mount=called),
)
"""Wrapped from outside, so that the stack is around their own answer to errors too."""

PROPAGATING = replace(QUART, name="quart-propagating", build=propagating)


def on_their_loops(*hosts: Host) -> pytest.MarkDecorator:
    """Run a test on each of *hosts*, on each loop that it knows."""
    return pytest.mark.parametrize(
        ("host", "anyio_backend"),
        [
            pytest.param(host, *loop.values, id=f"{host.name}-{loop.id}")
            for host in hosts
            for loop in BACKENDS
            if loop.id != "trio" or not host.asyncio_only
        ],
    )
