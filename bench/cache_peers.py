"""The app behind every cache of the bench, and the peers: each mounted as its manual says.

fastapi-cache2 and cashews decorate a handler of FastAPI, litestar has its own, hishel wraps any ASGI app.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import cycle
from secrets import token_hex
from typing import cast

from anyio import Event
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from bench.requests import Requests

__all__ = ("ABSENT", "ETAG", "HOUR", "PATH", "PEERS", "Build", "Origin", "SlowOrigin", "fastapi", "ready")

HOUR = 3600
PATH = "/cached"
ETAG = b'"1"'
ABSENT = dict.fromkeys(
    ("asgi-caches", "starlette-caches"), "wants starlette < 1, which nothing else here does"
)
"""Peers that cannot be installed beside the others."""

_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"17"),
    (b"cache-control", b"max-age=%d" % HOUR),
    (b"etag", ETAG),
]
_BODY = b'{"hello":"world"}'


class Origin:
    """What is cached: a small JSON object, fresh for an hour; an ASGI app, and a handler."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        """Answer at once."""
        self.calls += 1
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS.copy()})
        await send({"type": "http.response.body", "body": _BODY})

    async def handle(self) -> dict[str, str]:
        """Return the same, for a host to render."""
        self.calls += 1
        return {"hello": "world"}


class SlowOrigin(Origin):
    """Counts who asks, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as any origin, later."""
        await self.may_answer.wait()
        await super().__call__(scope, receive, send)

    async def handle(self) -> dict[str, str]:
        """Answer as any origin, later."""
        await self.may_answer.wait()
        return await super().handle()


Build = Callable[[Origin, AsyncExitStack], Awaitable[ASGIApp]]
"""Make an app that answers `PATH` for the origin from a cache; what it opens, the stack closes."""


def fastapi(handler: Callable[..., Awaitable[object]]) -> FastAPI:
    """Serve *handler* from FastAPI."""
    app = FastAPI()
    app.add_api_route(PATH, handler)
    return app


async def _fastapi_cache(origin: Origin, opened: AsyncExitStack) -> ASGIApp:
    from fastapi_cache import FastAPICache  # noqa: PLC0415 (a peer that is not there is listed, not fatal)
    from fastapi_cache.backends.inmemory import InMemoryBackend  # noqa: PLC0415 (as above)
    from fastapi_cache.decorator import cache  # noqa: PLC0415 (as above)

    FastAPICache.init(InMemoryBackend())
    apart = token_hex(4)  # there is one memory in a process, whoever asks for another
    return fastapi(cache(expire=HOUR, namespace=apart)(origin.handle))


async def _cashews(origin: Origin, opened: AsyncExitStack) -> ASGIApp:
    from cashews import Cache  # noqa: PLC0415 (as above)

    cache = Cache()
    cache.setup("mem://")
    opened.push_async_callback(cache.close)
    return fastapi(cache(ttl=HOUR, key=PATH)(origin.handle))


async def _litestar(origin: Origin, opened: AsyncExitStack) -> ASGIApp:
    from litestar import Litestar, get  # noqa: PLC0415 (as above)

    @get(PATH, cache=HOUR)
    async def handler() -> dict[str, str]:
        return await origin.handle()

    return cast("ASGIApp", Litestar([handler], openapi_config=None, logging_config=None))  # its own types


async def _hishel(origin: Origin, opened: AsyncExitStack) -> ASGIApp:
    from hishel.asgi import ASGICacheMiddleware  # noqa: PLC0415 (as above)

    app = ASGICacheMiddleware(origin)
    opened.push_async_callback(app.aclose)
    return app


PEERS: dict[str, Build] = {
    "hishel": _hishel,
    "fastapi-cache2": _fastapi_cache,
    "cashews": _cashews,
    "litestar": _litestar,
}


async def ready(
    builds: Mapping[str, Build], opened: AsyncExitStack, *, paths: Sequence[str] = (PATH,)
) -> dict[str, Requests | str]:
    """Return a case of cached answers for each, or the error of what cannot run."""
    return {name: await _ready(build, opened, paths) for name, build in builds.items()}


async def _ready(build: Build, opened: AsyncExitStack, paths: Sequence[str]) -> Requests | str:
    origin = Origin()
    try:
        case = Requests(await build(origin, opened), paths=cycle(paths), clients=len(paths))
        await case.meet()
        assert origin.calls == len(paths), f"asked the app {origin.calls} times for {len(paths)} answers"
    except Exception as error:  # noqa: BLE001 (whatever keeps a peer from running is the finding)
        return f"{type(error).__name__}: {error}"
    return case
