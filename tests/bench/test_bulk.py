"""That the bench runs and answers every question it is asked; never how fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest

from bench import bulk, bulk_ways
from bench.bulk_ways import LOOP, WAYS, Write
from bench.timing import Effort

LEAST = Effort(rounds=1, turn=0)
FEW = {"1k": 150, "100k": 300}


@contextmanager
def no_server(**asked: object) -> Iterator[None]:
    raise LookupError("no PostgreSQL found")
    yield


async def broken(url: str, opened: AsyncExitStack) -> Write:
    raise ImportError("no such peer")


def test_every_figure_and_every_case_is_there() -> None:
    found = bulk.findings(LEAST, sizes=FEW)

    assert {name for name, case in found.cases.items() if isinstance(case, str)} == set()
    assert found.cases.keys() == {f"{name}, {size}" for name in WAYS for size in FEW}
    ids = [figure.id for figure in found.figures]
    assert ids[:4] == ["copy_rows_s", "upsert_rows_s", "ratio_over_loop", "ratio_over_loop_100k"]
    assert {"ratio.psycopg.copy.1k", "ratio.asyncpg.executemany.100k"} < set(ids)


def test_what_cannot_run_is_listed_and_its_figures_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bulk_ways.WAYS, LOOP, broken)

    found = bulk.findings(LEAST, sizes={"1k": 10})

    assert found.cases[f"{LOOP}, 1k"] == "ImportError: no such peer"
    assert [figure.id for figure in found.figures if "." not in figure.id] == []


def test_without_a_server_that_is_the_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "run_services", no_server)

    found = bulk.findings(LEAST)

    assert list(found.cases.values()) == ["LookupError: no PostgreSQL found"]
    assert found.figures == []
