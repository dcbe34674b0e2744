"""The body of a request that nobody wants: read, so that the connection lives on.

Hypercorn closes a connection whose request was answered before it was read; HTTP/2 has no such trouble. So
the client gets its answer at once, and the answer ends when the rest was read. As in Go's net/http (whose
``maxPostHandlerReadBytes`` is the same), no more is read than a new connection is worth.
"""

from __future__ import annotations

import anyio
from starlette.types import Message, Receive, Scope, Send

from sipup_middleware.asgi import header

__all__ = ("MOST", "PATIENCE", "is_unread", "reading")

MOST = 256 * 1024
"""Bytes that are read."""

PATIENCE = 1.0
"""Seconds that they may take."""

_WITHOUT_BODY = frozenset({"GET", "HEAD"})


def is_unread(scope: Scope) -> bool:
    """Say whether a body is on its way that is worth reading; one that waits for our word never comes."""
    if scope["method"] in _WITHOUT_BODY or not scope["http_version"].startswith("1"):
        return False
    if header(scope, b"expect") is not None:
        return False
    length = header(scope, b"content-length")
    if length is None:
        return header(scope, b"transfer-encoding") is not None
    return length.isdigit() and 0 < int(length) <= MOST


def reading(receive: Receive, send: Send) -> Send:
    """Wrap *send* so that the response, whose body is one message, ends when the request was read."""

    async def send_and_read(message: Message) -> None:
        if message["type"] == "http.response.body":
            await send({**message, "more_body": True})
            with anyio.move_on_after(PATIENCE):
                await _read(receive)
            message = {"type": "http.response.body"}
        await send(message)

    return send_and_read


async def _read(receive: Receive) -> None:
    left = MOST
    more = True
    while more and left >= 0:
        message = await receive()
        left -= len(message.get("body", b""))
        more = message.get("more_body", False)
