"""The body of a request that nobody wants: read, so that the connection lives on.

Hypercorn closes a connection whose request was answered before it was read, and Granian one whose answer was
complete before; HTTP/2 has no such trouble. So the client gets its status at once, and the rest of the answer
when its body has come, or pauses: then it may be waiting for us. As in Go's net/http (whose
``maxPostHandlerReadBytes`` is the same), no more is read than a new connection is worth.
"""

from __future__ import annotations

import anyio
from starlette.types import Message, Receive, Scope, Send

from sipup_middleware.asgi import header

__all__ = ("MOST", "PATIENCE", "PAUSE", "is_unread", "reading")

MOST = 256 * 1024
"""Bytes that are read."""

PATIENCE = 1.0
"""Seconds that they may take, before the answer and again after it."""

PAUSE = 0.05
"""Seconds without any of them after which the client gets its answer."""

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
            rest = _Rest(receive)
            with anyio.move_on_after(PATIENCE):
                await rest.read(pause=PAUSE)
            if rest.is_coming:
                await send({**message, "more_body": True})
                with anyio.move_on_after(PATIENCE):
                    await rest.read(pause=PATIENCE)
                message = {"type": "http.response.body"}
        await send(message)

    return send_and_read


class _Rest:
    """What is left of a request."""

    __slots__ = ("_left", "_receive", "is_coming")

    def __init__(self, receive: Receive) -> None:
        self.is_coming = True
        self._receive = receive
        self._left = MOST

    async def read(self, *, pause: float) -> None:
        """Read to the end or to a *pause*, or more than it is worth."""
        while self.is_coming:
            with anyio.move_on_after(pause) as waiting:
                message = await self._receive()
            if waiting.cancelled_caught:
                return
            self._left -= len(message.get("body", b""))
            self.is_coming = message.get("more_body", False) and self._left >= 0
