"""One server of each kind for all cases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware.cache import ResponseCache
from sipup_middleware.cache.middleware import ResponseCacheMiddleware
from tests.cache.apps import Clock
from tests.cache.proxied.cases import Proxied
from tests.cache.proxied.origin import serving_origin
from tests.cache.proxied.proxy import ReverseProxy
from tests.cache.proxied.servers import SERVERS

START = 1_790_000_000.0


def timed(layer: ResponseCache, app: ASGIApp, clock: Clock) -> ResponseCacheMiddleware:
    """Wrap *app* in *layer* as it is, but by *clock*."""
    wrapped = layer(app)
    assert isinstance(wrapped, ResponseCacheMiddleware)
    wrapped._clock = wrapped._parts.clock = wrapped._parts.shelf._clock = clock
    layer.store.handle()._clock = clock
    return wrapped


def by_path(clock: Clock, port: int) -> ASGIApp:
    """A cache with default options, and below ``/honors`` one that heeds the Cache-Control of requests."""
    proxy = ReverseProxy(port)
    default = timed(ResponseCache(), proxy, clock)
    honoring = timed(ResponseCache(honor_client_cache_control=True), proxy, clock)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await (honoring if scope["path"].startswith("/honors/") else default)(scope, receive, send)

    return app


@pytest.fixture(params=SERVERS, scope="session")
def proxied(request: pytest.FixtureRequest) -> Iterator[Proxied]:
    """The whole chain on one server."""
    clock = Clock(START)
    with serving_origin(clock) as origin, SERVERS[request.param](by_path(clock, origin.port)) as port:
        yield Proxied(port, origin, clock)
