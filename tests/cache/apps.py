"""Apps that answer by a script and count who asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware.cache import ResponseCache, Rule
from sipup_middleware.cache.middleware import ResponseCacheMiddleware
from sipup_middleware.cache.policy import House
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


@dataclass
class Clock:
    """Stands at a date until it is moved."""

    now: float = 784111777.0

    def __call__(self) -> float:
        return self.now


def timed(
    app: ASGIApp, clock: Callable[[], float], *rules: Rule, house: House | None = None, **options: Any
) -> ASGIApp:
    """Wrap *app* in a cache that takes the time from *clock*; its store does not."""
    given: dict[str, Any] = {
        "store": Store(),
        "max_entry": 9999,
        "max_variants": 16,
        "name": "sipup",
        "telemetry": Telemetry(),
    }
    return ResponseCacheMiddleware(app, rules=rules, house=house or House(), clock=clock, **given | options)


@dataclass
class Origin:
    """Answer the first request with the first of its answers and so on; the last one stays.

    An answer is a status, header lines and a body, or an exception to raise.
    """

    answers: list[tuple[int, Sequence[tuple[str, str]], bytes] | Exception]
    scopes: list[Any] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        answer = self.answers[min(len(self.scopes), len(self.answers) - 1)]
        self.scopes.append({**scope})
        if isinstance(answer, Exception):
            raise answer
        status, headers, body = answer
        await Scripted(status=status, headers=headers, chunks=[body]).respond(send)

    def asked(self, number: int) -> dict[bytes, bytes]:
        """Return the headers of a request, the first being number 0, without Host."""
        return {name: value for name, value in self.scopes[number]["headers"] if name != b"host"}
