from __future__ import annotations

import gc
from itertools import groupby

from bench.timing import Effort, measure


async def test_cases_take_turns_in_every_round() -> None:
    calls: list[str] = []

    async def first() -> None:
        calls.append("first")

    async def second() -> None:
        calls.append("second")

    timings = await measure({"first": first, "second": second}, Effort(rounds=3, turn=0))

    assert [name for name, _ in groupby(calls)] == ["first", "second"] * 4
    assert timings.keys() == {"first", "second"}
    assert all(0 < timing.best <= timing.median for timing in timings.values())


async def test_the_garbage_collector_rests_and_is_woken() -> None:
    seen: set[bool] = set()

    async def case() -> None:
        seen.add(gc.isenabled())

    await measure({"case": case}, Effort(rounds=1, turn=0))

    assert (seen, gc.isenabled(), gc.get_freeze_count()) == ({False}, True, 0)
