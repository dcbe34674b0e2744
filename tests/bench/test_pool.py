"""That the bench runs and answers every question it is asked; never how fast."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench import pool
from bench.pool_peers import ABSENT, PEERS, Contender
from bench.timing import Effort

LEAST = Effort(rounds=1, turn=0.001)
IDS = ["lease_us", "round_trips_per_query", "think20_ratio", "wait_p99_over_mean"]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CLIENTS", 10)


@asynccontextmanager
async def broken(url: str, size: int) -> AsyncIterator[Contender]:
    raise ImportError("no such peer")
    yield


def test_every_figure_and_every_case_is_there() -> None:
    found = pool.findings(LEAST)

    ids = [figure.id for figure in found.figures]
    unable = {name for name, case in found.cases.items() if isinstance(case, str)}
    whats = ("lease", "fetch", *(f"request with {said}" for said in pool.THINK))
    assert ids == [*IDS, *(f"wait_p99_over_mean.{name}" for name in PEERS if name != pool.OURS)]
    assert found.cases.keys() == {f"{name}: {what}" for name in (*PEERS, *ABSENT) for what in whats}
    assert unable == {f"{name}: {what}" for name in ABSENT for what in whats}


def test_a_statement_is_one_round_trip() -> None:
    figures = {figure.id: figure.value for figure in pool.findings(LEAST).figures}

    assert figures["round_trips_per_query"] == 1


def test_a_peer_that_cannot_run_is_listed_and_its_figures_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PEERS, pool.NO_RESET, broken)

    found = pool.findings(LEAST)

    assert found.cases[f"{pool.NO_RESET}: lease"] == "ImportError: no such peer"
    ids = {figure.id for figure in found.figures}
    assert not ids & {"think20_ratio", f"wait_p99_over_mean.{pool.NO_RESET}"}
