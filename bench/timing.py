"""How we time: many short rounds, cases interleaved, the garbage collector frozen."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter

__all__ = ("Case", "Effort", "Timing", "measure", "quiet")

Case = Callable[[], Awaitable[object]]
_MANY = 30


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds a call."""

    best: float
    """Of the quietest round."""

    median: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to look."""

    rounds: int
    turn: float
    """Seconds that one case has in one round."""

    @property
    def is_long(self) -> bool:
        """Whether what is slow is waited for."""
        return self.rounds >= _MANY


async def measure(cases: Mapping[str, Case], effort: Effort) -> dict[str, Timing]:
    """Time each case, in calls one after the other.

    The cases take turns within a round, so that a slow spell of the machine falls on all of them alike.
    """
    samples: dict[str, list[float]] = {name: [] for name in cases}
    with quiet():
        calls = {name: await _calls_a_turn(case, effort.turn) for name, case in cases.items()}
        for _ in range(effort.rounds):
            for name, case in cases.items():
                samples[name].append(await _turn(case, calls[name]))
            gc.collect(0)
    return {name: Timing(min(times) * 1e6, median(times) * 1e6) for name, times in samples.items()}


async def _turn(case: Case, calls: int) -> float:
    started = perf_counter()
    for _ in range(calls):
        await case()
    return (perf_counter() - started) / calls


async def _calls_a_turn(case: Case, turn: float) -> int:
    await _turn(case, 20)  # warm up
    return max(1, int(turn / await _turn(case, 20)))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the garbage collector out of what is timed."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
