from __future__ import annotations

import sys

import orjson
import pytest

from bench.frame import Figure, Findings, as_text, record, run
from bench.timing import Effort, Timing

FOUND = Findings(
    cases={"ours": Timing(1.23456, 2.0), "theirs": "ImportError: gone"},
    figures=[Figure("ours_us", 1.23456, "us", aim="<= 3"), Figure("ratio", 2.0, "x")],
)


@pytest.mark.parametrize(
    ("value", "aim", "met"),
    [
        (3.0, "<= 3", True),
        (3.1, "<= 3", False),
        (4.5, ">= 4.5", True),
        (1.0, "< 1", False),
        (1.0, "> 0.5", True),
        (1.0, "1", True),
        (2.0, "1", False),
        (2.0, "", None),
    ],
)
def test_an_aim_is_met_or_not(value: float, aim: str, *, met: bool | None) -> None:
    assert Figure("x", value, aim=aim).met is met


def test_a_record_holds_the_question_figures_cases_and_surroundings() -> None:
    assert record("Why?", FOUND, {"python": "3"}) == {
        "question": "Why?",
        "figures": [
            {"id": "ours_us", "value": 1.235, "unit": "us", "aim": "<= 3", "met": True},
            {"id": "ratio", "value": 2.0, "unit": "x", "aim": None, "met": None},
        ],
        "cases": {
            "ours": {"best_us": 1.235, "median_us": 2.0},
            "theirs": {"error": "ImportError: gone"},
        },
        "surroundings": {"python": "3"},
    }


def test_the_text_lists_a_peer_that_cannot_run_with_its_error() -> None:
    text = as_text(record("Why?", FOUND, {}))

    assert "theirs     cannot run: ImportError: gone" in text
    assert "aim <= 3: met" in text


def test_the_question_comes_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.why"])
    seen: list[str] = []

    def findings(effort: Effort) -> Findings:
        seen.append(capsys.readouterr().out)
        return FOUND

    run("Why?", findings)

    assert seen == ["Why?\n"]


def test_json_is_one_object_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.why", "--json", "--quick"])

    run("Why?", lambda effort: FOUND, packages=["starlette"])

    answer = orjson.loads(capsysbinary.readouterr().out)
    assert answer["question"] == "Why?"
    assert answer["surroundings"].keys() >= {"python", "machine", "cores", "sipup-middleware", "starlette"}
