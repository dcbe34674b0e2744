"""One FastAPI app twice: glued together from what our users know, and wrapped in ours."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request
from starlette.types import ASGIApp

__all__ = ("bare", "glued", "wrapped")


async def _hello(request: Request) -> dict[str, str]:
    return {"hello": "world"}


def bare() -> FastAPI:
    """Build the app alone: ``/hello`` and ``/cached`` answer the same small JSON object."""
    app = FastAPI()
    app.add_api_route("/hello", _hello)
    app.add_api_route("/cached", _hello)
    return app


def wrapped(layer: Callable[[ASGIApp], ASGIApp]) -> FastAPI:
    """Add ours the way FastAPI adds any middleware."""
    app = bare()
    app.add_middleware(layer)
    return app


def glued() -> FastAPI:
    """Add slowapi, fastapi-cache2 and prometheus-fastapi-instrumentator, as each one's manual says."""
    from fastapi_cache import FastAPICache  # noqa: PLC0415 (a peer that is not there is listed, not fatal)
    from fastapi_cache.backends.inmemory import InMemoryBackend  # noqa: PLC0415
    from fastapi_cache.decorator import cache  # noqa: PLC0415
    from prometheus_fastapi_instrumentator import Instrumentator  # noqa: PLC0415
    from slowapi import Limiter  # noqa: PLC0415
    from slowapi.middleware import SlowAPIASGIMiddleware  # noqa: PLC0415
    from slowapi.util import get_remote_address  # noqa: PLC0415

    FastAPICache.init(InMemoryBackend())
    app = FastAPI()
    app.add_api_route("/hello", _hello)
    app.add_api_route("/cached", cache(expire=3600)(_hello))
    app.state.limiter = Limiter(
        key_func=get_remote_address, default_limits=["1000000/minute"], headers_enabled=True
    )
    app.add_middleware(SlowAPIASGIMiddleware)
    Instrumentator().instrument(app)
    return app
