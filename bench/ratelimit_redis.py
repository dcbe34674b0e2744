"""Ours and ``limits`` counting on one Valkey: what crosses the wire, and what that costs this process.

Three limits by address and headers. ``limits`` uses redis-py, as we do. The server's own time is not in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from time import process_time
from typing import Any, cast

import anyio
from redis.asyncio import Redis
from redis.asyncio.client import Monitor
from starlette.types import ASGIApp

from bench.ratelimit_clients import Clients, calls_a_turn
from bench.ratelimit_peers import limits_shell
from bench.requests import hello
from bench.timing import Effort, Timing, quiet
from sipup_middleware import Limit, RateLimit, by_ip
from sipup_middleware.services import run_services

__all__ = ("AT_ONCE", "BUILDERS", "OnRedis", "on_redis")

AT_ONCE = 10
REQUESTS = 50
"""That are listened to."""

_AMOUNT = 1_000_000_000
_PERIODS = ("minute", "hour", "day")
_MARK = "bench-heard-until-here"


@dataclass(frozen=True, slots=True)
class OnRedis:
    """What one limiter costs a request."""

    round_trips: float
    """Commands that came over the wire, a script as one; what the script itself calls is not counted."""

    one: Timing
    """Microseconds of this process's CPU, one request after the other."""

    ten: Timing
    """The same, `AT_ONCE` requests at a time."""


async def _ours(url: str, opened: AsyncExitStack) -> ASGIApp:
    limits = tuple(Limit(f"{_AMOUNT}/{period}", key=by_ip, name=period) for period in _PERIODS)
    layer = RateLimit(limits=limits, storage=url, on_outage="closed", storage_timeout=1)
    await opened.enter_async_context(layer.open())
    return layer(hello)


async def _limits(url: str, opened: AsyncExitStack) -> ASGIApp:
    from limits import parse  # noqa: PLC0415 (a peer that is not there is listed, not fatal)
    from limits.aio.storage import RedisStorage  # noqa: PLC0415 (as above)
    from limits.aio.strategies import SlidingWindowCounterRateLimiter  # noqa: PLC0415 (as above)

    scheme, _, rest = url.partition("://")
    target = f"async+redis+{scheme}" if scheme == "unix" else f"async+{scheme}"
    storage = RedisStorage(f"{target}://{rest}", implementation="redispy")
    opened.push_async_callback(cast("Any", storage.bridge).get_connection().aclose)
    return limits_shell(
        SlidingWindowCounterRateLimiter(storage), [parse(f"{_AMOUNT}/{period}") for period in _PERIODS]
    )


BUILDERS: dict[str, Callable[[str, AsyncExitStack], Awaitable[ASGIApp]]] = {
    "sipup": _ours,
    "limits.aio": _limits,
}


def on_redis(effort: Effort, *, clients: int) -> dict[str, OnRedis | str]:
    """Start a server, measure each of `BUILDERS` on it; one that cannot run is its error."""
    try:
        with run_services(postgres=False, environ={}) as services:
            assert services.redis_url
            return anyio.run(_measured, services.redis_url, effort, clients, backend="asyncio")
    except Exception as error:  # noqa: BLE001 (no server: that is the finding)
        return dict.fromkeys(BUILDERS, f"{type(error).__name__}: {error}")


async def _measured(url: str, effort: Effort, clients: int) -> dict[str, OnRedis | str]:
    found: dict[str, OnRedis | str] = {}
    able: dict[str, Clients] = {}
    trips: dict[str, float] = {}
    async with AsyncExitStack() as opened:
        for name, build in BUILDERS.items():
            try:
                case = await Clients.of(await build(url, opened), clients)
                await case.meet(patience=60)
                assert (reply := await case.again(0)).status == 200, reply.status  # noqa: PLR2004 (OK)
                trips[name] = await _round_trips(url, case)
                able[name] = case
            except Exception as error:  # noqa: BLE001 (whatever keeps a peer from running is the finding)
                found[name] = f"{type(error).__name__}: {error}"
        one, ten = await _cpu(able, effort, 1), await _cpu(able, effort, AT_ONCE)
    return found | {name: OnRedis(trips[name], one[name], ten[name]) for name in able}


async def _round_trips(url: str, case: Clients) -> float:
    """Return how many commands a request sends, as the server's MONITOR tells."""
    async with Redis.from_url(url) as client, client.monitor() as monitor:
        await _heard(monitor, client)  # the greeting of our own connection
        for _ in range(REQUESTS):
            await case.ask()
        return await _heard(monitor, client) / REQUESTS


async def _heard(monitor: Monitor, client: Redis) -> int:
    """Return how many commands came over the wire until now."""
    await cast("Awaitable[Any]", client.echo(_MARK))
    heard = 0
    async for command in monitor.listen():
        if _MARK in command["command"]:
            return heard
        heard += command["client_type"] != "lua"
    raise AssertionError("the monitor has ended")


async def _cpu(cases: Mapping[str, Clients], effort: Effort, at_once: int) -> dict[str, Timing]:
    """Time each case by the clock that stands still while the process waits; the cases take turns."""
    spent: dict[str, list[float]] = {name: [] for name in cases}
    with quiet():
        calls = {name: await calls_a_turn(case, effort) for name, case in cases.items()}
        for _ in range(effort.rounds):
            for name, case in cases.items():
                spent[name].append(await _cpu_turn(case, calls[name] // at_once + 1, at_once) * 1e6)
    return {name: Timing(min(times), median(times)) for name, times in spent.items()}


async def _cpu_turn(case: Clients, waves: int, at_once: int) -> float:
    started = process_time()
    for _ in range(waves):
        if at_once == 1:
            await case.ask()
        else:
            await asyncio.gather(*(case.ask() for _ in range(at_once)))
    return (process_time() - started) / (waves * at_once)
