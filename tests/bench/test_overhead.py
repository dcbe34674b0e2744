"""That the bench runs and answers every question it is asked; never how fast."""

from __future__ import annotations

import warnings

import orjson
import pytest

from bench import overhead, report
from bench.frame import record
from bench.timing import Effort

IDS = [
    "stack_added_us",
    "stack_hit_us",
    "added_us.health",
    "added_us.ratelimit",
    "added_us.cache",
    "added_us.database",
    "added_us.jobs",
    "trio_stack_added_us",
    "trio_stack_hit_us",
    "glue_added_ratio",
    "glue_cached_ratio",
]
LEAST = Effort(rounds=1, turn=0)


def test_every_figure_and_every_case_is_there_on_both_loops() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers' own
        answer = record("?", overhead.findings(LEAST, clients=3), {})

    cases, figures = answer["cases"], answer["figures"]
    assert isinstance(cases, dict)
    assert isinstance(figures, list)
    assert [figure["id"] for figure in figures] == IDS
    assert [name for name, case in cases.items() if "error" in case] == []
    assert {name.removeprefix("trio: ") for name in cases if name.startswith("trio: ")} < cases.keys()


def test_a_peer_that_cannot_run_is_listed_and_its_figures_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> None:
        raise ImportError("no such peer")

    monkeypatch.setattr(overhead, "glued", broken)

    answer = overhead.findings(LEAST, clients=3)

    assert answer.cases[overhead.GLUE] == "ImportError: no such peer"
    assert [figure.id for figure in answer.figures] == IDS[:-2]


def test_the_page_of_results_is_what_the_records_say() -> None:
    kept = {path.stem: orjson.loads(path.read_bytes()) for path in sorted(report.RESULTS.glob("*.json"))}

    assert report.PAGE.read_text() == report.page(kept)
    assert set(kept) <= set(report.names())
