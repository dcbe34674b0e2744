"""An app for real servers whose first answer is stale at once, and whose second waits to be let go."""

from __future__ import annotations

import anyio
from starlette.types import Receive, Scope, Send

from sipup_middleware.cache import ResponseCache
from tests.cache.apps import Scripted

__all__ = ("app",)

_STALE = ("cache-control", "max-age=0, stale-while-revalidate=60")
_FRESH = ("cache-control", "max-age=60")


class _Slow:
    calls = 0
    go: anyio.Event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        if scope["path"] == "/go":
            self.go.set()
            await Scripted(headers=()).respond(send)
        elif scope["path"] == "/calls":
            await Scripted(headers=(), chunks=[b"%d" % self.calls]).respond(send)
        else:
            await self.answer(send)

    async def answer(self, send: Send) -> None:
        self.calls += 1
        number = self.calls
        if number == 1:
            self.go = anyio.Event()
        else:
            await self.go.wait()
        headers = [_STALE if number == 1 else _FRESH]
        await Scripted(headers=headers, chunks=[b"%d" % number]).respond(send)


app = ResponseCache()(_Slow())
