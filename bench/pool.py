"""What a borrowed connection costs, and how many requests a pool of few can serve.

On a PostgreSQL of the bench's own, on asyncio. A *lease* is borrow and give back, with nothing between; a
*fetch* is one statement on a connection borrowed for it. A *request* runs one statement and then waits for
something else (0, 20 or 100 ms: an API, a cache, a slow client); 100 of them are under way at any time, on a
pool of 10. Ours has a connection while the statement runs; a peer's request has one throughout, as sessions
per request do. ``think20_ratio`` is what asyncpg.Pool takes for such a request, without its reset, over what
ours takes.

``wait_p99_over_mean`` is of 100 clients that wait for 5 connections all the time, for statements of 2 ms.
Round trips are counted on the wire, after the first statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import mean, median
from time import perf_counter

import anyio

from bench.frame import Case, Figure, Findings, measured, run
from bench.pool_peers import ABSENT, PEERS, SQL, Contender
from bench.pool_wire import wire_to
from bench.timing import Effort, Timing, quiet
from sipup_middleware.database import Database, PoolConfig
from sipup_middleware.services import run_services

__all__ = ("OURS", "QUESTION", "findings")

QUESTION = (
    "What does a borrowed connection cost, and how many requests does a pool of 10 serve that also wait?"
)
OURS, NO_RESET = "sipup", "asyncpg.Pool, no reset"
THINK = {"0 ms": 0.0, "20 ms": 0.02, "100 ms": 0.1}
CLIENTS, SIZE = 100, 10
FEW, SLOW = 5, "SELECT pg_sleep(0.002)"
PACKAGES = ("asyncpg", "psycopg-pool", "psycopg", "sqlalchemy")
AIMS = {
    "lease_us": "< 1",
    "round_trips_per_query": "1",
    "think20_ratio": ">= 8",
    "wait_p99_over_mean": "<= 1.3",
}


@asynccontextmanager
async def opened(url: str, size: int) -> AsyncIterator[dict[str, Contender | str]]:
    """Open every pool that can be; the others are their errors."""
    async with AsyncExitStack() as stack:
        found: dict[str, Contender | str] = {}
        for name, build in PEERS.items():
            try:
                found[name] = await stack.enter_async_context(build(url, size))
            except Exception as error:  # noqa: BLE001 (a peer that cannot run is listed)
                found[name] = f"{type(error).__name__}: {error}"
        yield {**found, **ABSENT}


async def one_by_one(pools: dict[str, Contender | str], effort: Effort) -> dict[str, Case]:
    """Time leases and statements, one after the other."""
    cases: dict[str, Case] = {}
    for what in ("lease", "fetch"):
        calls = {
            f"{name}: {what}": each if isinstance(each, str) else getattr(each, what)
            for name, each in pools.items()
        }
        cases |= await measured(calls, effort)
    return cases


async def crowd(pool: Contender, think: float, seconds: float) -> float:
    """Return the seconds a request takes where `CLIENTS` ask without pause for about so many *seconds*."""
    served, until = 0, perf_counter() + seconds

    async def client() -> None:
        nonlocal served
        while perf_counter() < until:
            await pool.request(think)
            served += 1

    began = perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return (perf_counter() - began) / served


def rounds(effort: Effort) -> int:
    """Return how often what takes its time is measured."""
    return min(5, max(1, effort.rounds // 5))


async def crowds(pools: dict[str, Contender | str], effort: Effort) -> dict[str, Case]:
    """Time requests that wait for something else, the pools in turns."""
    seconds = 1.0 if effort.is_long else min(0.4, effort.turn * 80)
    cases: dict[str, Case] = {}
    for said, think in THINK.items():
        times: dict[str, list[float]] = {name: [] for name in pools}
        for _ in range(rounds(effort)):
            for name, pool in pools.items():
                if not isinstance(pool, str):
                    times[name].append(await crowd(pool, think, seconds))
        for name, found in times.items():
            case = Timing(min(found) * 1e6, median(found) * 1e6) if found else str(pools[name])
            cases[f"{name}: request with {said}"] = case
    return cases


async def waits(pool: Contender, turns: int) -> float:
    """Return the p99 of the waits over their mean, in a line that is never empty."""
    times: list[float] = []

    async def client() -> None:
        for _ in range(turns):
            began = perf_counter()
            connection = await pool.acquire()
            times.append(perf_counter() - began)
            await pool.run(connection, SLOW)
            await pool.release(connection)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    settled = sorted(times[2 * CLIENTS : -CLIENTS])
    return settled[int(0.99 * len(settled))] / mean(settled)


async def round_trips(url: str) -> float:
    """Return the round trips of one statement, once the connection has met it."""
    async with (
        wire_to(url) as wire,
        Database(wire.url, pool=PoolConfig(min=1, max=1, workers=1)).open() as db,
    ):
        await db.fetch(SQL)
        before = wire.trips
        for _ in range(100):
            await db.fetch(SQL)
        return (wire.trips - before) / 100


async def measure_all(url: str, effort: Effort) -> tuple[dict[str, Case], dict[str, float]]:
    """Measure on one server."""
    turns = 30 if effort.is_long else 10
    async with opened(url, SIZE) as pools:
        cases = await one_by_one(pools, effort)
        with quiet():
            cases |= await crowds(pools, effort)
    lines: dict[str, float] = {}
    async with opened(url, FEW) as pools:
        for name, pool in pools.items():
            if not isinstance(pool, str):
                with quiet():
                    lines[name] = min([await waits(pool, turns) for _ in range(rounds(effort))])
    return cases, {"round_trips_per_query": await round_trips(url), **lines}


def figures(cases: dict[str, Case], found: dict[str, float]) -> Iterator[Figure]:
    """Answer; what was not measured is left out."""
    lease, ours = cases[f"{OURS}: lease"], cases[f"{OURS}: request with 20 ms"]
    held = cases[f"{NO_RESET}: request with 20 ms"]
    if isinstance(lease, Timing):
        yield Figure("lease_us", lease.best, "us", aim=AIMS["lease_us"])
    yield Figure("round_trips_per_query", found["round_trips_per_query"], aim=AIMS["round_trips_per_query"])
    if isinstance(ours, Timing) and isinstance(held, Timing):
        yield Figure("think20_ratio", held.best / ours.best, "x", aim=AIMS["think20_ratio"])
    yield Figure("wait_p99_over_mean", found[OURS], "x", aim=AIMS["wait_p99_over_mean"])
    for name in PEERS:
        if name != OURS and name in found:
            yield Figure(f"wait_p99_over_mean.{name}", found[name], "x")


def findings(effort: Effort) -> Findings:
    """Start a server and measure every pool on it."""
    with run_services(valkey=False, environ={}) as services:
        assert services.database_url
        cases, found = anyio.run(measure_all, services.database_url, effort, backend="asyncio")
    return Findings(cases=cases, figures=list(figures(cases, found)))


if __name__ == "__main__":
    run(QUESTION, findings, packages=PACKAGES)
