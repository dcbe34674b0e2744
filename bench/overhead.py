"""What each layer, and the whole stack, adds to a request; and what the glue adds that it replaces.

Every request comes from the next of 20,000 clients. The apps are called in this process: no server, no
sockets. A ``miss`` is a path that nobody has asked for, answered by the app and stored in a full store; a
``hit`` is answered from memory. The database and jobs layers are idle: their handles are there, no statement
is run and no job enqueued. What a layer *adds* is the best round of the wrapped app less the best round of
the same app bare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bench.frame import Case, Figure, Findings, measured, run
from bench.glue import bare, glued, wrapped
from bench.requests import Requests, hello, one_path, other_paths
from bench.timing import Effort, Timing
from sipup_middleware import (
    Database,
    Health,
    Jobs,
    Limit,
    RateLimit,
    ResponseCache,
    Rule,
    Stack,
    Store,
    by_ip,
    by_user,
)

__all__ = ("QUESTION", "findings")

QUESTION = "How many microseconds does each layer, and the whole stack, add to a request?"
CLIENTS = 20_000
NOWHERE = "postgresql://nobody@127.0.0.1:9/nothing"
BARE, STARLETTE, FASTAPI = "bare ASGI", "Starlette", "FastAPI"
MISS, HIT = "whole stack, miss", "whole stack, hit"
GLUE, GLUE_CACHED = "FastAPI + peers' glue", "FastAPI + peers' glue, cached"
OURS, OURS_CACHED = "FastAPI + sipup", "FastAPI + sipup, cached"
OUR_HIT = (b"cache-status", b"hit")
LAYERS = {
    "health": "health",
    "ratelimit": "ratelimit",
    "cache": "cache, miss",
    "database": "database, idle",
    "jobs": "jobs, idle",
}


def rate_limit() -> RateLimit:
    """Build the product's two rules, wide enough that nobody is refused."""
    return RateLimit(limits=(Limit("1000000/minute", key=by_ip), Limit("10000000/hour", key=by_user)))


def response_cache() -> ResponseCache:
    """Build a cache whose store is full at once, so that a miss pays for an eviction too."""
    rules = (Rule("/cached", ttl=3600), Rule("/items/{id}", ttl=3600))
    return ResponseCache(store=Store(max_bytes=4 << 20), rules=rules)


def database() -> Database:
    """Name a server that is not there: nobody dials it."""
    return Database(NOWHERE)


def jobs() -> Jobs:
    """Name the same: nothing is enqueued."""
    return Jobs(NOWHERE)


def whole_stack() -> Stack:
    """Build all five layers in the standard order."""
    return Stack(Health(), rate_limit(), response_cache(), database(), jobs())


async def starlette_hello(request: Request) -> PlainTextResponse:
    """Answer at once."""
    return PlainTextResponse("hello")


def layer_cases(requests: Callable[..., Requests]) -> dict[str, Requests]:
    """Build the cases without peers, which run on every loop."""
    cached, stack = response_cache()(hello), whole_stack()(hello)
    apps = {
        BARE: hello,
        STARLETTE: Starlette(routes=[Route("/items/{id}", starlette_hello)]),
        LAYERS["health"]: Health()(hello),
        LAYERS["ratelimit"]: rate_limit()(hello),
        LAYERS["cache"]: cached,
        LAYERS["database"]: database()(hello),
        LAYERS["jobs"]: jobs()(hello),
        MISS: stack,
    }
    return {
        **{name: requests(app, paths=other_paths("/items")) for name, app in apps.items()},
        "cache, hit": requests(cached, paths=one_path("/cached"), shows=OUR_HIT),
        HIT: requests(stack, paths=one_path("/cached"), shows=OUR_HIT),
    }


def peer_cases(requests: Callable[..., Requests]) -> dict[str, Requests | str]:
    """Build the FastAPI app bare, wrapped in ours, and glued; a peer that fails is its error."""
    hello, cached = one_path("/hello"), one_path("/cached")
    ours = wrapped(whole_stack())
    cases: dict[str, Requests | str] = {
        FASTAPI: requests(bare(), paths=hello),
        OURS: requests(ours, paths=hello),
        OURS_CACHED: requests(ours, paths=cached, shows=OUR_HIT),
    }
    try:
        theirs = glued()
    except Exception as error:  # noqa: BLE001 (whatever keeps a peer from running is the finding)
        return cases | dict.fromkeys((GLUE, GLUE_CACHED), f"{type(error).__name__}: {error}")
    return cases | {
        GLUE: requests(theirs, paths=hello),
        GLUE_CACHED: requests(theirs, paths=cached, shows=(b"x-fastapi-cache", b"HIT")),
    }


async def timings(effort: Effort, clients: int, *, peers: bool) -> dict[str, Case]:
    """Measure every case on the running loop, in one run."""
    requests = partial(Requests, clients=clients)
    cases = {**layer_cases(requests), **(peer_cases(requests) if peers else {})}
    for case in cases.values():
        if isinstance(case, Requests):
            await case.meet()
    return await measured(cases, effort)


def figures(cases: dict[str, Case], trio: dict[str, Case]) -> Iterator[Figure]:
    """Answer the question from what was measured; what a missing peer would be needed for is left out."""
    best = {name: case.best for name, case in cases.items() if isinstance(case, Timing)}
    yield Figure("stack_added_us", best[MISS] - best[BARE], "us", aim="<= 20")
    yield Figure("stack_hit_us", best[HIT], "us", aim="<= 8")
    for layer, name in LAYERS.items():
        yield Figure(f"added_us.{layer}", best[name] - best[BARE], "us")
    on_trio = {name: case.best for name, case in trio.items() if isinstance(case, Timing)}
    yield Figure("trio_stack_added_us", on_trio[MISS] - on_trio[BARE], "us")
    yield Figure("trio_stack_hit_us", on_trio[HIT], "us")
    if GLUE in best:
        added = (best[GLUE] - best[FASTAPI]) / (best[OURS] - best[FASTAPI])
        yield Figure("glue_added_ratio", added, "x", aim=">= 4.5")
        yield Figure("glue_cached_ratio", best[GLUE_CACHED] / best[OURS_CACHED], "x", aim=">= 20")


def findings(effort: Effort, *, clients: int = CLIENTS) -> Findings:
    """Measure on asyncio, peers included, then on trio."""
    ours = anyio.run(partial(timings, effort, clients, peers=True), backend="asyncio")
    trio = anyio.run(partial(timings, effort, clients, peers=False), backend="trio")
    return Findings(
        cases={**ours, **{f"trio: {name}": case for name, case in trio.items()}},
        figures=list(figures(ours, trio)),
    )


if __name__ == "__main__":
    run(
        QUESTION,
        findings,
        packages=(
            "starlette",
            "fastapi",
            "trio",
            "slowapi",
            "fastapi-cache2",
            "prometheus-fastapi-instrumentator",
        ),
    )
