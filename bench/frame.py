"""What every bench is: a question, cases in one run, and figures with aims.

A bench states its question, measures, and hands itself to `run`::

    QUESTION = "How long does it take?"

    def findings(effort: Effort) -> Findings:
        timings = anyio.run(measure, {"it": it}, effort)
        return Findings(cases=timings, figures=[Figure("it_us", timings["it"].best, "us", aim="<= 3")])

    if __name__ == "__main__":
        run(QUESTION, findings, packages=["starlette"])
"""

from __future__ import annotations

import argparse
import operator
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import orjson

from bench.timing import Case as Timed
from bench.timing import Effort, Timing, measure

__all__ = ("Case", "Figure", "Findings", "as_text", "measured", "record", "run")

Case = Timing | str
"""A measured case, or the error of a peer that could not run."""

_FULL = Effort(rounds=60, turn=0.01)
_QUICK = Effort(rounds=15, turn=0.005)
_COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "": operator.eq}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a bench answers with."""

    id: str
    value: float
    unit: str = ""
    aim: str = ""
    """``<= 3``, ``>= 8``, ``< 1``; a bare number must be met exactly; empty = none."""

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached; None where there is none."""
        if not self.aim:
            return None
        sign, _, number = self.aim.rpartition(" ")
        return bool(_COMPARE[sign](self.value, float(number)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What one run of a bench found."""

    cases: Mapping[str, Case]
    figures: Iterable[Figure]


async def measured(cases: Mapping[str, Timed | str], effort: Effort) -> dict[str, Case]:
    """Time the cases that can run, in one run, and pass on the errors of the others."""
    timings = await measure({name: case for name, case in cases.items() if not isinstance(case, str)}, effort)
    return {name: case if isinstance(case, str) else timings[name] for name, case in cases.items()}


def run(
    question: str,
    findings: Callable[[Effort], Findings],
    *,
    packages: Iterable[str] = (),
    more: Mapping[str, object] | None = None,
) -> None:
    """Serve the command line of a bench; the answer depends on the versions of *packages*, and on *more*."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--quick", action="store_true", help="look for a shorter time: at most 45 s")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    asked = parser.parse_args()
    if not asked.json:
        print(question, flush=True)
    around = {**surroundings(packages), **(more or {})}
    answer = record(question, findings(_QUICK if asked.quick else _FULL), around)
    if asked.json:
        sys.stdout.buffer.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    else:
        print(as_text(answer))


def record(question: str, findings: Findings, surroundings: Mapping[str, object]) -> dict[str, object]:
    """Return the answer as it is kept."""
    return {
        "question": question,
        "figures": [
            {
                "id": figure.id,
                "value": _rounded(figure.value),
                "unit": figure.unit,
                "aim": figure.aim or None,
                "met": figure.met,
            }
            for figure in findings.figures
        ],
        "cases": {name: _kept(case) for name, case in findings.cases.items()},
        "surroundings": surroundings,
    }


def surroundings(packages: Iterable[str]) -> dict[str, object]:
    """Say what the numbers depend on."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        **{package: _version(package) for package in ("sipup-middleware", *packages)},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def as_text(answer: Mapping[str, object]) -> str:
    """Show a kept answer as tables."""
    cases, figures = answer["cases"], answer["figures"]
    assert isinstance(cases, dict)
    assert isinstance(figures, list)
    width = max(map(len, [*cases, *(figure["id"] for figure in figures)]), default=0) + 2
    rows = [f"\n{'us':{width}}{'best':>10}{'median':>10}"]
    for name, case in cases.items():
        if "error" in case:
            rows.append(f"{name:{width}}  cannot run: {case['error']}")
        else:
            rows.append(f"{name:{width}}{case['best_us']:10,.1f}{case['median_us']:10,.1f}")
    rows.append("")
    for figure in figures:
        aim = f"  aim {figure['aim']}: {'met' if figure['met'] else 'MISSED'}" if figure["aim"] else ""
        rows.append(f"{figure['id']:{width}}{figure['value']:10,.2f} {figure['unit']:3}{aim}")
    return "\n".join([*rows, "", str(answer["surroundings"])])


def _kept(case: Case) -> dict[str, float | str]:
    if isinstance(case, str):
        return {"error": case}
    return {"best_us": _rounded(case.best), "median_us": _rounded(case.median)}


def _rounded(value: float) -> float:
    return round(value, 3)
