"""What uvicorn serves in the bench: the same kilobyte of JSON, bare, from Starlette, and cached by us."""

from __future__ import annotations

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sipup_middleware import ResponseCache

__all__ = ("BODY", "PATH", "bare", "cached", "plain")

PATH = "/products/7"
BODY = orjson.dumps({"id": 7, "name": "Chair", "price": "49.00", "stock": 120, "description": "oak " * 235})
_TYPE, _LENGTH = (b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once: as fast as an app on this server can be."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [_TYPE, _LENGTH]})
        await send({"type": "http.response.body", "body": BODY})


async def _product(request: Request) -> Response:
    return Response(BODY, headers={"cache-control": "max-age=3600"}, media_type="application/json")


plain = Starlette(routes=[Route(PATH, _product)])
cached = ResponseCache()(plain)
