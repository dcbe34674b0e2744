"""That the bench runs and answers every question it is asked; never how fast."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest
from starlette.types import ASGIApp

from bench import cache, cache_valkey
from bench.cache_peers import ABSENT, PEERS, Origin
from bench.cache_zipf import fifo_hits, lru_hits, our_hits, zipf
from bench.frame import Findings
from bench.timing import Effort

LEAST = Effort(rounds=1, turn=0)
IDS = [
    "hit_us",
    "not_modified_us",
    "miss_added_us",
    "redis_hit_us",
    "herd_calls",
    "zipf_hit_ratio",
    "best_peer_hit_ratio_us",
]
ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])  # as the peers are


def find() -> Findings:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers' own
        return cache.findings(LEAST, keys=100, crowd=20)


@contextmanager
def no_server(**asked: object) -> Iterator[None]:
    raise LookupError("no Valkey found")
    yield


async def broken(origin: Origin, opened: AsyncExitStack) -> ASGIApp:
    raise ImportError("no such peer")


async def uncached(origin: Origin, opened: AsyncExitStack) -> ASGIApp:
    return origin


def test_every_figure_and_every_case_is_there() -> None:
    found = find()

    ids = [figure.id for figure in found.figures]
    unable = {name for name, case in found.cases.items() if isinstance(case, str)}
    assert ids[: len(IDS)] == IDS
    assert {"herd_calls.litestar", "zipf_hit_ratio.lru", "zipf_hit_ratio.fifo"} < set(ids)
    assert unable == {"hishel, hit", *ABSENT}, "hishel's only store in process wants a package of its own"
    assert found.cases.keys() > {cache.BARE, cache.HIT, cache.NOT_MODIFIED, cache.MISS, cache.IN_FASTAPI}
    assert found.cases.keys() > {f"{name}, hit" for name in PEERS}
    assert found.cases.keys() > {cache_valkey.OURS, cache_valkey.HISHEL, cache_valkey.GET}


def test_one_of_a_herd_reaches_the_app() -> None:
    figures = {figure.id: figure.value for figure in find().figures}

    assert figures["herd_calls"] == 1
    assert figures["herd_calls.litestar"] == 20


def test_what_cannot_run_or_does_not_cache_is_listed_and_its_figures_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache, "PEERS", {"gone": broken, "idle": uncached})
    monkeypatch.setattr(cache_valkey, "run_services", no_server)

    found = find()

    assert found.cases["gone, hit"] == "ImportError: no such peer"
    assert found.cases["idle, hit"] == "AssertionError: asked the app 2 times for 1 answers"
    assert found.cases[cache_valkey.OURS] == "LookupError: no Valkey found"
    ids = [figure.id for figure in found.figures]
    assert ids == [
        *(id_ for id_ in IDS if not id_.startswith(("redis_", "best_peer"))),
        "zipf_hit_ratio.lru",
        "zipf_hit_ratio.fifo",
    ]


def test_a_trace_is_skewed_and_the_same_in_every_run() -> None:
    trace = zipf(100, 10_000)

    counts = [trace.count(key) for key in (0, 9, 99)]
    assert trace == zipf(100, 10_000)
    assert counts[0] > 5 * counts[1] > 25 * counts[2] > 0


def test_lru_keeps_what_is_asked_for_again_and_fifo_does_not() -> None:
    trace = [1, 2, 1, 3, 1]

    assert (lru_hits(trace, 2), fifo_hits(trace, 2)) == (2, 1)


@ON_ASYNCIO
async def test_ours_has_room_for_just_as_many() -> None:
    assert await our_hits([1, 2, 3, 1, 2, 3], 3) == 3
    assert await our_hits([1, 2, 3, 1, 2, 3], 2) < 3
