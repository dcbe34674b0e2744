"""The app that `test_leaving` has real servers serve: handlers whose clients leave."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from sipup_middleware import Database, PoolConfig
from sipup_middleware.database import transactional

__all__ = ("app",)

URL = os.environ.get("LEAVING_DATABASE_URL", "postgresql://")
errors: list[str] = []


async def slow(request: Request) -> JSONResponse:
    try:
        return JSONResponse(await request.state.sipup.db.fetchval("SELECT 'left alone' FROM pg_sleep(30)"))
    except Exception as error:
        errors.append(type(error).__name__)
        raise


@transactional
async def slow_write(request: Request) -> JSONResponse:
    await request.state.sipup.db.execute("INSERT INTO left_behind VALUES (1)")
    return await slow(request)


async def echo(request: Request) -> PlainTextResponse:
    """Read the body only after a statement that ran for long enough to be watched."""
    await request.state.sipup.db.fetchval("SELECT 1 FROM pg_sleep(0.2)")
    return PlainTextResponse(str(len(await request.body())))


async def told(request: Request) -> JSONResponse:
    return JSONResponse(errors)


_inner = Starlette(
    routes=[
        Route("/slow", slow, methods=["GET", "POST"]),
        Route("/slow-write", slow_write, methods=["POST"]),
        Route("/echo", echo, methods=["POST"]),
        Route("/told", told),
    ]
)
app = Database(URL, pool=PoolConfig(min=0, max=2), cancel_on_disconnect=True)(_inner)
