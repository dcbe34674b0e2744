"""That the bench runs and answers every question it is asked; never how fast."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from bench import ratelimit, ratelimit_memory, ratelimit_redis
from bench.frame import Findings
from bench.ratelimit_clients import Clients
from bench.ratelimit_peers import HOSTS, OURS, PEERS
from bench.requests import hello
from bench.timing import Effort

LEAST = Effort(rounds=1, turn=0)
FEW = {"1": 1, "1k": 2, "20k": 3, "200k": 4, "1M": 5}
IDS = [
    "added_us_20k",
    "added_p99_us_20k",
    "added_p99_us_200k",
    "flatness_1m",
    "known_1m",
    "bytes_per_client",
    "refused_over_allowed",
    "redis_round_trips",
    "redis_client_us",
    "redis_client_us_10_at_once",
]
COMPARED = "best_peer_ratio_20k"
OF_A_PEER = [id_ for id_ in IDS if not id_.startswith("redis_")]
ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])  # as the peers are
NAMES = [each.name for each in PEERS]


def find(*, patience: float = 60) -> Findings:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers' own
        return ratelimit.findings(LEAST, sizes=FEW, patience=patience)


@contextmanager
def no_server(**asked: object) -> Iterator[None]:
    raise LookupError("no Valkey found")
    yield


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Let the subjects of these names not be installed."""

    async def broken(amount: int, opened: AsyncExitStack) -> ASGIApp:
        raise ImportError("no such peer")

    peers = [replace(each, build=broken) if each.name in missing else each for each in PEERS]
    monkeypatch.setattr(ratelimit_memory, "PEERS", peers)


def test_every_figure_and_every_case_is_there() -> None:
    found = find()

    assert [figure.id for figure in found.figures if "." not in figure.id] == [*IDS, COMPARED]
    for name in NAMES:
        ids = {figure.id for figure in found.figures if figure.id.endswith(f".{name}")}
        assert ids >= {f"{id_}.{name}" for id_ in OF_A_PEER if id_ != "known_1m"}
    assert {name for name, case in found.cases.items() if isinstance(case, str)} == set()
    assert found.cases.keys() == {
        *(f"{host}, bare: {which}" for host in HOSTS for which in ("p50", "p99")),
        *(
            f"{name}, {size}: {which} added"
            for name in (OURS.name, *NAMES)
            for size in (*FEW, "refused")
            for which in ("p50", "p99")
        ),
        *(
            f"{name} on Valkey{more}: CPU"
            for name in ratelimit_redis.BUILDERS
            for more in ("", ", 10 at once")
        ),
    }


def test_a_live_client_has_been_counted_and_a_request_of_three_limits_is_one_round_trip() -> None:
    figures = {figure.id: figure.value for figure in find().figures}

    assert figures["known_1m"] == 1
    assert figures["redis_round_trips"] == 1
    assert figures["redis_round_trips.limits.aio"] == 6


def test_a_missing_peer_is_listed_and_its_figures_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "slowapi", "litestar")
    monkeypatch.setattr(ratelimit_redis, "run_services", no_server)

    found = find()

    assert found.cases["slowapi, 1"] == found.cases["litestar, refused"] == "ImportError: no such peer"
    assert found.cases["sipup on Valkey"] == "LookupError: no Valkey found"
    ids = {figure.id for figure in found.figures}
    assert not {id_ for id_ in ids if id_.endswith((".slowapi", ".litestar")) or id_.startswith("redis_")}
    assert ids >= {"added_us_20k", "added_us_20k.asgi-ratelimit", COMPARED}


def test_a_peer_that_would_keep_us_waiting_is_listed_and_goes_no_further() -> None:
    found = find(patience=0)

    assert "sipup, 1M: p50 added" in found.cases
    assert found.cases["slowapi, 1"] == "10 requests would take 0 s"
    assert "slowapi, 1k" not in found.cases


@ON_ASYNCIO
async def test_every_client_asks_before_any_asks_twice() -> None:
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["client"][0])
        await hello(scope, receive, send)

    clients = await Clients.of(app, 300)

    met = await clients.meet(patience=60)
    await clients.turn(300)

    assert (met, len(set(asked[:300])), set(asked[300:])) == (300, 300, set(asked[:300]))
    assert asked[:300] != asked[300:]


@ON_ASYNCIO
async def test_clients_are_met_no_longer_than_patience_lasts() -> None:
    clients = await Clients.of(hello, 300)

    assert await clients.meet(patience=0) == 1
