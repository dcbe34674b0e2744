"""What it takes to write 1,000 and 100,000 rows of six columns, by each way that is known.

On a PostgreSQL beside us that does not wait for its disk. Each way has a connection of its own and writes
into the same table, emptied before; for ``upsert_many`` all its rows are there before, so that all of them
are updated. The loop runs in one transaction. asyncpg's ``copy_records_to_table`` is what ours stands on:
what ours takes more is for reading the records, counting them and, from 5,000 on, for a savepoint a batch.

``copy_rows_s`` and ``upsert_rows_s`` are of the larger size; ``ratio_over_loop`` is of the smaller one, and
``ratio_over_loop_100k`` is there where the loop was waited for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from statistics import median
from time import perf_counter

import anyio
import asyncpg

from bench.bulk_ways import LOOP, OURS, TABLE, UPSERT, Row, Write, rows, ways
from bench.frame import Case, Figure, Findings, run
from bench.timing import Effort, Timing, quiet
from sipup_middleware.services import run_services

__all__ = ("QUESTION", "findings")

QUESTION = "How long does it take to write many rows, and how much of the usual loop's time is spared?"
SIZES = {"1k": 1_000, "100k": 100_000}
TOO_LONG = "ten seconds a round: only without --quick"
PACKAGES = ("asyncpg", "psycopg")


async def timed(
    name: str, write: Write, given: Sequence[Row], control: asyncpg.Connection[asyncpg.Record]
) -> float:
    """Return the seconds of one write into a table that is made ready for it."""
    await control.execute("TRUNCATE bulk")
    if name == UPSERT:
        await write(given)
    await control.execute("VACUUM bulk")
    began = perf_counter()
    await write(given)
    took = perf_counter() - began
    assert await control.fetchval("SELECT count(*) FROM bulk") == len(given), f"{name} lost rows"
    return took


async def measured(url: str, sizes: Mapping[str, int], effort: Effort) -> dict[str, Case]:
    """Measure each way in each size; they take turns within a round."""
    found: dict[str, Case] = {}
    async with AsyncExitStack() as opened:
        control = await asyncpg.connect(url)
        opened.push_async_callback(control.close)
        await control.execute(TABLE)
        built = await ways(url, opened)
        for size, number in sizes.items():
            large = size != "1k"
            rounds = (3 if effort.is_long else 1) if large else max(1, effort.rounds // 3)
            able = {name: way for name, way in built.items() if not isinstance(way, str)}
            found |= {f"{name}, {size}": way for name, way in built.items() if isinstance(way, str)}
            if large and not effort.is_long and number > SIZES["1k"]:
                del able[LOOP]
                found[f"{LOOP}, {size}"] = TOO_LONG
            found |= await _rounds(able, size, rows(number), rounds, control)
    return found


async def _rounds(
    able: Mapping[str, Write],
    size: str,
    given: Sequence[Row],
    rounds: int,
    control: asyncpg.Connection[asyncpg.Record],
) -> dict[str, Case]:
    samples: dict[str, list[float]] = {name: [] for name in able}
    with quiet():
        for _ in range(rounds):
            for name, write in able.items():
                samples[name].append(await timed(name, write, given, control) * 1e6)
    return {f"{name}, {size}": Timing(min(times), median(times)) for name, times in samples.items()}


def figures(cases: Mapping[str, Case], sizes: Mapping[str, int]) -> Iterator[Figure]:
    """Answer for ours; what was not measured is left out."""
    best = {name: case.best for name, case in cases.items() if isinstance(case, Timing)}
    for id_, name in (("copy_rows_s", OURS), ("upsert_rows_s", UPSERT)):
        if (took := best.get(f"{name}, 100k")) is not None:
            yield Figure(id_, sizes["100k"] / took * 1e6, "/s")
    for id_, size, aim in (("ratio_over_loop", "1k", ">= 8"), ("ratio_over_loop_100k", "100k", "")):
        ours, loop = best.get(f"{OURS}, {size}"), best.get(f"{LOOP}, {size}")
        if ours is not None and loop is not None:
            yield Figure(id_, loop / ours, "x", aim=aim)
    for name, took in best.items():
        peer, _, size = name.rpartition(", ")
        if peer not in {OURS, UPSERT, LOOP} and f"{OURS}, {size}" in best:
            yield Figure(f"ratio.{peer.replace(', ', '.')}.{size}", took / best[f"{OURS}, {size}"], "x")


def findings(effort: Effort, *, sizes: Mapping[str, int] = SIZES) -> Findings:
    """Start a server and measure on it; without one, that is the finding."""
    try:
        with run_services(valkey=False, environ={}) as services:
            assert services.database_url
            cases = anyio.run(measured, services.database_url, sizes, effort, backend="asyncio")
    except Exception as error:  # noqa: BLE001 (no server: that is the finding)
        cases = {OURS: f"{type(error).__name__}: {error}"}
    return Findings(cases=cases, figures=list(figures(cases, sizes)))


if __name__ == "__main__":
    run(QUESTION, findings, packages=PACKAGES)
