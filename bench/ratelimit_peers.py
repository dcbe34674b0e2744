"""Ours and the peers, all with the same two limits by address: one a day, one an hour, and headers.

``limits`` has no middleware: it stands in the least ASGI shell that does what the others do. asgi-ratelimit
has no headers. litestar has one limit a middleware, so there are two.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.ratelimit_clients import PATH
from bench.requests import hello
from sipup_middleware import Limit, RateLimit, by_ip

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import RateLimiter

__all__ = ("BARE", "HOSTS", "OURS", "PEERS", "Subject", "limits_shell")

BARE, STARLETTE, LITESTAR = "bare ASGI", "Starlette", "Litestar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A rate limiter that is measured."""

    name: str
    host: str
    """The case in `HOSTS` that it adds to."""

    build: Callable[[int, AsyncExitStack], Awaitable[ASGIApp]]
    """Make an app that admits so many requests a client; what it holds open, the stack closes."""

    tells: bytes | None = b"x-ratelimit-remaining"
    """The response header that says what is left for a client."""


async def _ours(amount: int, opened: AsyncExitStack) -> ASGIApp:
    day, hour = (Limit(f"{amount}/{period}", key=by_ip, name=period) for period in ("day", "hour"))
    layer = RateLimit(limits=(day, hour), max_keys=1 << 21)
    await opened.enter_async_context(layer.open())
    return layer(hello)


async def _limits(amount: int, opened: AsyncExitStack) -> ASGIApp:
    from limits import parse  # noqa: PLC0415 (a peer that is not there is listed, not fatal)
    from limits.aio.storage import MemoryStorage  # noqa: PLC0415 (as above)
    from limits.aio.strategies import SlidingWindowCounterRateLimiter  # noqa: PLC0415 (as above)

    rates = [parse(f"{amount}/{period}") for period in ("day", "hour")]
    return limits_shell(SlidingWindowCounterRateLimiter(MemoryStorage()), rates)


async def _asgi_ratelimit(amount: int, opened: AsyncExitStack) -> ASGIApp:
    from ratelimit import RateLimitMiddleware, Rule  # noqa: PLC0415 (as above)
    from ratelimit.backends.simple import MemoryBackend  # noqa: PLC0415 (as above)

    async def authenticate(scope: Scope) -> tuple[str, str]:
        return scope["client"][0], "default"

    backend = MemoryBackend()  # type: ignore[no-untyped-call]  # (it says no types)
    return RateLimitMiddleware(hello, authenticate, backend, {"/": [Rule(day=amount, hour=amount)]})


async def _starlette_hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def _starlette() -> Starlette:
    return Starlette(routes=[Route(PATH, _starlette_hello)])


async def _slowapi(amount: int, opened: AsyncExitStack) -> ASGIApp:
    logging.getLogger("slowapi").disabled = True  # it has a line for each refusal, and a terminal is slow
    from slowapi import Limiter  # noqa: PLC0415 (as above)
    from slowapi.middleware import SlowAPIASGIMiddleware  # noqa: PLC0415 (as above)
    from slowapi.util import get_remote_address  # noqa: PLC0415 (as above)

    app = await _starlette()
    app.state.limiter = Limiter(
        key_func=get_remote_address,
        default_limits=[f"{amount}/day", f"{amount}/hour"],
        headers_enabled=True,
    )
    app.add_middleware(SlowAPIASGIMiddleware)
    return app


async def _litestar(*limits: tuple[Literal["day", "hour"], int]) -> ASGIApp:
    from litestar import Litestar, MediaType, get  # noqa: PLC0415 (as above)
    from litestar.middleware.rate_limit import RateLimitConfig  # noqa: PLC0415 (as above)

    @get(PATH, media_type=MediaType.TEXT)
    async def litestar_hello() -> str:
        return "hello"

    configs = [RateLimitConfig(rate_limit=limit, store=limit[0]) for limit in limits]
    app = Litestar(
        [litestar_hello],
        middleware=[each.middleware for each in configs],
        openapi_config=None,
        logging_config=None,
    )
    return cast("ASGIApp", app)  # its own types for the same three arguments


async def _litestar_limited(amount: int, opened: AsyncExitStack) -> ASGIApp:
    return await _litestar(("day", amount), ("hour", amount))


async def _bare() -> ASGIApp:
    return hello


HOSTS: dict[str, Callable[[], Awaitable[ASGIApp]]] = {
    BARE: _bare,
    STARLETTE: _starlette,
    LITESTAR: _litestar,
}

OURS = Subject(name="sipup", host=BARE, build=_ours)
PEERS = (
    Subject(name="limits.aio", host=BARE, build=_limits),
    Subject(name="asgi-ratelimit", host=BARE, build=_asgi_ratelimit, tells=None),
    Subject(name="slowapi", host=STARLETTE, build=_slowapi),
    Subject(name="litestar", host=LITESTAR, build=_litestar_limited, tells=b"ratelimit-remaining"),
)


def limits_shell(limiter: RateLimiter, rates: Iterable[RateLimitItem]) -> ASGIApp:
    """Wrap `hello` in what `limits` leaves to its users: count, refuse, say what is left of the tightest."""
    rates = tuple(rates)

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope["client"][0]
        status = 200
        for rate in rates:
            if not await limiter.hit(rate, client):
                status = 429
        stats = [await limiter.get_window_stats(rate, client) for rate in rates]
        tightest = min(stats, key=lambda each: each.remaining)
        told = [
            (b"x-ratelimit-remaining", b"%d" % tightest.remaining),
            (b"x-ratelimit-reset", b"%d" % tightest.reset_time),
        ]

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *told]}
            await send(message)

        if status == 200:  # noqa: PLR2004 (OK)
            return await hello(scope, receive, telling)
        await telling({"type": "http.response.start", "status": status, "headers": []})
        return await telling({"type": "http.response.body", "body": b""})

    return limited
