"""Apps behind layers, as a test asks them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware import Stack
from sipup_middleware.context import Context
from sipup_middleware.telemetry import Fact, Telemetry
from tests.asgi import Exchange, get, lifespan

__all__ = ("Handler", "Site", "bare", "starlette")

Handler = Callable[[Context], Awaitable[object]]


def bare(handle: Handler) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await JSONResponse(await handle(scope["sipup"]))(scope, receive, send)

    return app


def starlette(handle: Handler) -> ASGIApp:
    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await handle(request.state.sipup))

    return Starlette(routes=[Route("/", endpoint)])


class Site:
    """A handler behind layers, and what they tell."""

    def __init__(self, handle: Handler, *layers: Any, host: Callable[[Handler], ASGIApp] = starlette) -> None:
        self.facts: list[Fact] = []
        self.telemetry = Telemetry([self.facts.append])
        self.app = Stack(*layers, log=False)(host(handle), telemetry=self.telemetry)

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Site]:
        async with lifespan(self.app):
            yield self

    async def get(self, path: str = "/", **scope: Any) -> Exchange:
        return await get(self.app, path, **scope)

    async def health(self, path: str) -> Any:
        reply = await self.get(f"/_health/{path}", client="127.0.0.1")
        return reply.json()

    def counted(self, outcome: str) -> int:
        return self.telemetry.counter("jobs.enqueued", outcome=outcome).value
