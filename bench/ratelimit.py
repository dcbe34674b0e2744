"""What rate limiting adds to a request, in this process and on Valkey, as more and more clients are live.

Two limits by address, one a day and one an hour, and headers (asgi-ratelimit has none); nobody is refused but
in the cases named so. Apps are called in this process, on asyncio: no server, no sockets; every request is
timed by itself, and with it what it leaves for the event loop to do. What is *added* is the p50 (p99) of the
limited app less the p50 (p99) of the same app bare: of the quietest round of each, and of the median round.

A *live* client has been counted in the window that is measured. ``known_1m`` is the share of a million whose
next response still says so: below 1, ours has forgotten some, and ``flatness_1m`` is of fewer than a million.
``refused_over_allowed`` compares whole requests of 1,000 clients, the trivial app's part included.
``best_peer_ratio_20k`` is what the fastest peer adds, over what ours does.

A peer goes as far as it finishes in reasonable time: so many seconds to meet the clients, as many for its
part of the measurement. Bytes are those that tracemalloc sees held once 20,000 clients are live, or as many
as can be met. On Valkey there are three limits by address and 1,000 clients; all this process's CPU counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import anyio

from bench.frame import Case, Figure, Findings, run
from bench.ratelimit_memory import REFUSED, Memory, in_memory
from bench.ratelimit_peers import OURS, PEERS
from bench.ratelimit_redis import AT_ONCE, OnRedis, on_redis
from bench.timing import Effort

__all__ = ("QUESTION", "SIZES", "findings")

QUESTION = (
    "What does rate limiting (2 limits by address, with headers) add to a request, and how does that grow"
    " with the number of live clients?"
)
SIZES = {"1": 1, "1k": 1_000, "20k": 20_000, "200k": 200_000, "1M": 1_000_000}
PATIENCE, QUICK_PATIENCE = 30.0, 1.5
AIMS = {
    "added_us_20k": "<= 3",
    "added_p99_us_200k": "< 100",
    "flatness_1m": "<= 1.5",
    "known_1m": "1",
    "refused_over_allowed": "< 1",
    "redis_round_trips": "1",
    "redis_client_us": "<= 100",
}
PACKAGES = ("limits", "slowapi", "asgi-ratelimit", "litestar", "starlette", "redis")


def memory_cases(memory: Memory) -> Iterator[tuple[str, Case]]:
    """Lay out what each request takes bare and, by limiter and live clients, what is added."""
    for (name, size), spread in memory.whole.items():
        if (name, size) not in memory.added:
            yield f"{name}, {size}: p50", spread.p50
            yield f"{name}, {size}: p99", spread.p99
    for (name, size), spread in memory.added.items():
        yield f"{name}, {size}: p50 added", spread.p50
        yield f"{name}, {size}: p99 added", spread.p99
    for (name, size), error in memory.unable.items():
        yield f"{name}, {size}", error


def redis_cases(shared: Mapping[str, OnRedis | str]) -> Iterator[tuple[str, Case]]:
    """Lay out the CPU of a request."""
    for name, found in shared.items():
        if isinstance(found, str):
            yield f"{name} on Valkey", found
        else:
            yield f"{name} on Valkey: CPU", found.one
            yield f"{name} on Valkey, {AT_ONCE} at once: CPU", found.ten


def numbers(
    memory: Memory, shared: Mapping[str, OnRedis | str], name: str
) -> Iterator[tuple[str, float, str]]:
    """Return id, value and unit of what was found of one limiter; what was not measured is left out."""
    added = {size: spread for (who, size), spread in memory.added.items() if who == name}
    if "20k" in added:
        yield "added_us_20k", added["20k"].p50.best, "us"
        yield "added_p99_us_20k", added["20k"].p99.best, "us"
    if "200k" in added:
        yield "added_p99_us_200k", added["200k"].p99.best, "us"
    if added.keys() >= {"1k", "1M"}:
        yield "flatness_1m", _over(added["1M"].p50.best, added["1k"].p50.best), "x"
    if (name, "1M") in memory.known:
        yield "known_1m", memory.known[name, "1M"], ""
    if name in memory.bytes_per_client:
        yield "bytes_per_client", memory.bytes_per_client[name], "B"
    if added.keys() >= {"1k", REFUSED}:
        refused, allowed = (memory.whole[name, size].p50.best for size in (REFUSED, "1k"))
        yield "refused_over_allowed", _over(refused, allowed), "x"
    if isinstance(found := shared.get(name), OnRedis):
        yield "redis_round_trips", found.round_trips, ""
        yield "redis_client_us", found.one.best, "us"
        yield "redis_client_us_10_at_once", found.ten.best, "us"


def figures(memory: Memory, shared: Mapping[str, OnRedis | str]) -> Iterator[Figure]:
    """Answer for ours, which has aims, then for each peer."""
    ours = {id_: value for id_, value, _ in numbers(memory, shared, OURS.name)}
    for id_, value, unit in numbers(memory, shared, OURS.name):
        yield Figure(id_, value, unit, aim=AIMS.get(id_, ""))
    theirs = {peer: list(numbers(memory, shared, peer)) for peer in (each.name for each in PEERS)}
    at_20k = [value for found in theirs.values() for id_, value, _ in found if id_ == "added_us_20k"]
    if at_20k and "added_us_20k" in ours:
        yield Figure("best_peer_ratio_20k", _over(min(at_20k), ours["added_us_20k"]), "x")
    for peer, found in theirs.items():
        yield from (Figure(f"{id_}.{peer}", value, unit) for id_, value, unit in found)


def findings(effort: Effort, *, sizes: Mapping[str, int] = SIZES, patience: float | None = None) -> Findings:
    """Measure in this process, then on a Valkey of its own."""
    if patience is None:
        patience = PATIENCE if effort.is_long else QUICK_PATIENCE
    memory = anyio.run(in_memory, effort, sizes, patience, backend="asyncio")
    shared = on_redis(effort, clients=sizes["1k"])
    return Findings(
        cases={**dict(memory_cases(memory)), **dict(redis_cases(shared))},
        figures=list(figures(memory, shared)),
    )


def _over(one: float, other: float) -> float:
    return one / max(other, 0.001)  # below a nanosecond there is only noise


if __name__ == "__main__":
    run(QUESTION, findings, packages=PACKAGES)
