"""How long attempts take, told by each worker in few words, so that the words of several add up.

Bins are quarters of an octave, from 1 ms: a percentile is within 10 % of the value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import log2

__all__ = ("bin_of", "p95")

_SHORTEST = 1e-3
_FINE = 4


def bin_of(seconds: float) -> int:
    """Return the number of the bin that a duration belongs to."""
    return max(0, round(_FINE * log2(max(seconds, _SHORTEST) / _SHORTEST)))


def p95(told: Iterable[Mapping[str, int]]) -> float | None:
    """Return the seconds that 95 % did not exceed, of the bins that each of *told* counted; None for none."""
    counts = Counter[int]()
    for each in told:
        for name, count in each.items():
            counts[int(name)] += count
    rest = 0.95 * counts.total()
    for number in sorted(counts):
        rest -= counts[number]
        if rest <= 0:
            return float(_SHORTEST * 2 ** (number / _FINE))
    return None
