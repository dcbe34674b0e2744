"""Run every bench, or those named, and write down what they answer.

``python -m bench.report [NAME ...] [--quick]`` writes ``bench/results/NAME.json`` for each that it ran, then
``bench/RESULTS.md`` from all that are kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

__all__ = ("names", "page")

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE / "RESULTS.md"


def names() -> list[str]:
    """Return the modules here that ask a question."""
    return sorted(path.stem for path in HERE.glob("*.py") if "\nQUESTION = " in path.read_text())


def page(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay the kept answers out as one page."""
    sections = ["# What the benches answer\n\nWritten by `make bench`; best rounds, one run each.\n"]
    sections += ["\n".join(_section(name, record)) + "\n" for name, record in records.items()]
    return "\n".join(sections)


def _section(name: str, record: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}\n\n{record['question']}\n"
    yield "| figure | value | aim | met |\n|---|---|---|---|"
    for figure in record["figures"]:
        met = {True: "yes", False: "**no**", None: ""}[figure["met"]]
        yield f"| `{figure['id']}` | {figure['value']:.2f} {figure['unit']} | {figure['aim'] or ''} | {met} |"
    yield "\n| case | best, us | median, us |\n|---|---|---|"
    for case, found in record["cases"].items():
        if "error" in found:
            yield f"| {case} | cannot run: {found['error']} | |"
        else:
            yield f"| {case} | {found['best_us']:.1f} | {found['median_us']:.1f} |"
    yield f"\n{', '.join(f'{what} {value}' for what, value in record['surroundings'].items())}"


def _run(name: str, options: Iterable[str]) -> None:
    print(f"bench.{name} ...", flush=True)
    command = [sys.executable, "-m", f"bench.{name}", "--json", *options]
    answer = subprocess.run(command, stdout=subprocess.PIPE, cwd=HERE.parent, check=True).stdout  # noqa: S603 (our own module)
    RESULTS.mkdir(exist_ok=True)
    RESULTS.joinpath(f"{name}.json").write_bytes(answer)


def main() -> None:
    """Serve the command line."""
    known = names()
    parser = argparse.ArgumentParser(description="Run the benches and write down what they answer.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; none = all")
    parser.add_argument("--quick", action="store_const", const=["--quick"], default=[])
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(known):
        parser.error(f"no bench named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in asked.names or known:
        _run(name, asked.quick)
    kept = {path.stem: orjson.loads(path.read_bytes()) for path in sorted(RESULTS.glob("*.json"))}
    PAGE.write_text(page(kept))
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
