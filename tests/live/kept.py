"""An app behind the cache, in memory: one value in a file, which GET reads and PUT replaces.

``x-worker`` tells which process answers, also from the store.
"""

from __future__ import annotations

import os
from functools import partial

from anyio import Path
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from sipup_middleware.asgi import with_headers
from sipup_middleware.cache import ResponseCache

__all__ = ("app",)

_VALUE = Path(os.environ.get("KEPT_VALUE", os.devnull))


async def _get(request: Request) -> Response:
    return PlainTextResponse(await _VALUE.read_text(), headers={"cache-control": "max-age=3600"})


async def _put(request: Request) -> Response:
    await _VALUE.write_bytes(await request.body())
    return Response(status_code=204)


_cached = ResponseCache()(
    Starlette(routes=[Route("/value", _get), Route("/value", _put, methods=["PUT"])]),
)
_telling = partial(with_headers, extra=((b"x-worker", b"%d" % os.getpid()),))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    telling = send if scope["type"] == "lifespan" else _telling(send)

    async def told(message: Message) -> None:
        await telling(message)

    await _cached(scope, receive, told)
