"""Ours and hishel answering from one Valkey, beside us on a Unix socket, and what a bare GET takes.

As many paths as ours has no room for in process are asked for in turn, so each answer comes from the server.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import anyio
from redis.asyncio import Redis
from starlette.types import ASGIApp

from bench.cache_peers import Build, Origin, ready
from bench.frame import Case, measured
from bench.timing import Effort
from sipup_middleware import ResponseCache, Store
from sipup_middleware.services import run_services

__all__ = ("GET", "HISHEL", "OURS", "on_valkey")

OURS, HISHEL, GET = "sipup, hit on Valkey", "hishel, hit on Valkey", "redis-py, GET on Valkey"
_PATHS = tuple(f"/items/{number}" for number in range(500))
_ROOM = 64 << 10
_ATTEMPTS = 5
_PATIENCE = 1.0
"""Seconds: a server that is late must show in the time, not as a miss."""


def on_valkey(effort: Effort) -> dict[str, Case]:
    """Start a server and measure on it; what cannot run is its error."""
    try:
        with run_services(postgres=False, environ={}) as services:
            assert services.redis_url
            return anyio.run(_measured, services.redis_url, effort, backend="asyncio")
    except Exception as error:  # noqa: BLE001 (no server: that is the finding)
        return dict.fromkeys((OURS, HISHEL, GET), f"{type(error).__name__}: {error}")


async def _measured(url: str, effort: Effort) -> dict[str, Case]:
    store = Store(url, max_bytes=_ROOM, timeout=_PATIENCE)
    async with store.open() as handle, Redis.from_url(url) as client, AsyncExitStack() as opened:
        builds: dict[str, Build] = {OURS: partial(_ours, store), HISHEL: partial(_hishel, client)}
        cases = await ready(builds, opened, paths=_PATHS)
        await client.set("bench", bytes(500))
        if not isinstance(ours := cases[OURS], str):
            for _ in _PATHS:  # a link that was late kept an answer from being shared
                await ours()
        for _ in range(_ATTEMPTS):
            before = handle.stats()["misses"]
            timings = await measured({**cases, GET: partial(client.get, "bench")}, effort)
            if handle.stats()["misses"] == before and not handle.stats()["hits"]:
                return timings
    raise RuntimeError(f"not all came from Valkey: {handle.stats()}")


async def _ours(store: Store, origin: Origin, opened: AsyncExitStack) -> ASGIApp:
    return ResponseCache(store=store)(origin)


async def _hishel(client: Redis, origin: Origin, opened: AsyncExitStack) -> ASGIApp:
    from hishel import AsyncRedisStorage  # noqa: PLC0415 (a peer that is not there is listed, not fatal)
    from hishel.asgi import ASGICacheMiddleware  # noqa: PLC0415 (as above)

    return ASGICacheMiddleware(origin, AsyncRedisStorage(client))
