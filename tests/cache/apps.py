"""Apps that answer by a script and count who asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware.cache import ResponseCache, Rule
from sipup_middleware.store import Store
from sipup_middleware.telemetry import Telemetry

FRESH = ("cache-control", "max-age=60")


@dataclass
class Scripted:
    """Answer every request alike; ``scope`` is that of the last one."""

    headers: Iterable[tuple[str, str]] = (FRESH,)
    status: int = 200
    chunks: Iterable[bytes] = (b"hel", b"lo")
    calls: int = 0
    scope: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        self.calls += 1
        self.scope = scope
        await self.respond(send)

    async def respond(self, send: Send) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        *first, last = self.chunks
        for chunk in first:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": last})


@dataclass
class Counting(Scripted):
    """Answer with how often it was asked."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.chunks = [b"%d" % (self.calls + 1)]
        await super().__call__(scope, receive, send)


def cached(app: ASGIApp, *rules: Rule, telemetry: Telemetry | None = None, **options: Any) -> ASGIApp:
    """Wrap *app* in a cache with a store of its own."""
    options.setdefault("store", Store())
    return ResponseCache(rules=rules, **options)(app, telemetry=telemetry)
