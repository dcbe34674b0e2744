"""What the response cache adds to a request, in this process and on Valkey, and what it spares the app.

Apps are called in this process, on asyncio: no server, no sockets; every answer is the same small JSON
object. What is *added* is the best round of the wrapped app less the best round of the same app bare. A hit
and a 304 are answered from memory. A ``miss`` is a path that nobody has asked for, answered by the app and
stored in a store that is full, so that it pays for an eviction. ``redis_hit_us`` is the whole request, its
answer read from a Valkey beside us, the wait for it included; a bare GET of redis-py is the floor.

``herd_calls``: 1,000 requests at once for what is not stored, and how many of them reach the app.
``zipf_hit_ratio``: ten requests a key, from empty, with room for a tenth of the keys; LRU and FIFO beside it.
``best_peer_hit_ratio_us``: the fastest peer's cached GET over ours, both whole, each where it is made to
stand: ours and hishel around an ASGI app, the others in their framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack

import anyio
from starlette.types import ASGIApp

from bench.cache_peers import ABSENT, ETAG, PATH, PEERS, Build, Origin, SlowOrigin, fastapi, ready
from bench.cache_valkey import OURS as ON_VALKEY
from bench.cache_valkey import on_valkey
from bench.cache_zipf import fifo_hits, lru_hits, our_hits, zipf
from bench.frame import Case, Figure, Findings, measured, run
from bench.requests import Requests, one_path, other_paths
from bench.timing import Effort, Timing
from sipup_middleware import ResponseCache, Store

__all__ = ("QUESTION", "findings")

QUESTION = "What does the response cache add to a request, and what does it spare the app?"
KEYS, CROWD, FULL = 100_000, 1_000, 4_000
A_KEY, ROOM = 10, 10
"""Requests for each key; room for one key in so many."""

OURS = "sipup"
BARE, HIT, NOT_MODIFIED, MISS = "bare ASGI", "sipup, hit", "sipup, 304", "sipup, miss"
IN_FASTAPI = "FastAPI + sipup, hit"
PACKAGES = ("starlette", "fastapi", "hishel", "fastapi-cache2", "cashews", "litestar", "redis")


async def our_cases(opened: AsyncExitStack) -> dict[str, Requests]:
    """Build the cases without peers, all with one store."""
    layer = ResponseCache(store=Store(max_bytes=4 << 20))
    store = await opened.enter_async_context(layer.open())
    app, host = layer(Origin()), fastapi(Origin().handle)
    host.add_middleware(layer)
    stored, hit = (b"cache-status", b"stored"), (b"cache-status", b"hit")
    had = [(b"if-none-match", ETAG)]
    cases = {
        BARE: Requests(Origin(), paths=other_paths("/items"), clients=1),
        MISS: Requests(app, paths=other_paths("/items"), clients=FULL, shows=stored),
        HIT: Requests(app, paths=one_path(PATH), clients=1, shows=hit),
        NOT_MODIFIED: Requests(app, paths=one_path(PATH), clients=1, headers=had, status=304),
        IN_FASTAPI: Requests(host, paths=one_path(PATH), clients=1, shows=hit),
    }
    for case in cases.values():
        await case.meet()
    assert store.stats()["evictions"], "the store is not full"
    return cases


async def timings(effort: Effort) -> dict[str, Case]:
    """Measure what needs no server, in one run."""
    async with AsyncExitStack() as opened:
        cases = {
            **await our_cases(opened),
            **await ready({_hit(name): build for name, build in PEERS.items()}, opened),
        }
        return {**await measured(cases, effort), **ABSENT}


async def _ours(origin: Origin, opened: AsyncExitStack) -> ASGIApp:
    layer = ResponseCache()
    await opened.enter_async_context(layer.open())
    return layer(origin)


async def herd_calls(build: Build, crowd: int) -> int:
    """Return how many of a *crowd* that asks for one path at once reach the app."""
    origin = SlowOrigin()
    async with AsyncExitStack() as opened:
        one = Requests(await build(origin, opened), paths=one_path(PATH), clients=1)
        async with anyio.create_task_group() as group:
            for _ in range(crowd):
                group.start_soon(one)
            await anyio.wait_all_tasks_blocked()
            origin.may_answer.set()
    return origin.calls


async def herds(cases: Mapping[str, Case], crowd: int) -> dict[str, int]:
    """Send one to ours, and to each peer that can run."""
    able = {name: build for name, build in PEERS.items() if isinstance(cases[_hit(name)], Timing)}
    return {name: await herd_calls(build, crowd) for name, build in {OURS: _ours, **able}.items()}


async def zipf_ratios(keys: int) -> dict[str, float]:
    """Return the share of one trace that each policy answers."""
    trace, room = zipf(keys, A_KEY * keys), keys // ROOM
    hits = {OURS: await our_hits(trace, room), "lru": lru_hits(trace, room), "fifo": fifo_hits(trace, room)}
    return {name: count / len(trace) for name, count in hits.items()}


def figures(
    cases: Mapping[str, Case], calls: Mapping[str, int], ratios: Mapping[str, float]
) -> Iterator[Figure]:
    """Answer for ours, then for the others; what was not measured is left out."""
    best = {name: case.best for name, case in cases.items() if isinstance(case, Timing)}
    yield Figure("hit_us", best[HIT] - best[BARE], "us", aim="<= 5")
    yield Figure("not_modified_us", best[NOT_MODIFIED] - best[BARE], "us")
    yield Figure("miss_added_us", best[MISS] - best[BARE], "us", aim="<= 10")
    if ON_VALKEY in best:
        yield Figure("redis_hit_us", best[ON_VALKEY], "us", aim="<= 150")
    yield Figure("herd_calls", calls[OURS], aim="1")
    yield Figure("zipf_hit_ratio", ratios[OURS], aim=">= 0.77")
    if theirs := [best[_hit(name)] for name in PEERS if _hit(name) in best]:
        yield Figure("best_peer_hit_ratio_us", min(theirs) / best[HIT], "x")
    for id_, values in (("herd_calls", calls), ("zipf_hit_ratio", ratios)):
        yield from (Figure(f"{id_}.{name}", value) for name, value in values.items() if name != OURS)


def findings(effort: Effort, *, keys: int = KEYS, crowd: int = CROWD) -> Findings:
    """Measure in this process, then on a Valkey of its own."""

    async def here() -> tuple[dict[str, Case], dict[str, int], dict[str, float]]:
        cases = await timings(effort)
        return cases, await herds(cases, crowd), await zipf_ratios(keys)

    cases, calls, ratios = anyio.run(here, backend="asyncio")
    cases |= on_valkey(effort)
    return Findings(cases=cases, figures=list(figures(cases, calls, ratios)))


def _hit(name: str) -> str:
    return f"{name}, hit"


if __name__ == "__main__":
    run(QUESTION, findings, packages=PACKAGES)
