"""Numbers that are cheap to add to: a count costs 0.1 us, a histogram's record 0.3."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from math import log2
from sys import byteorder

__all__ = ("Counter", "Histogram")

_FINE = 32
"""Bins an octave, each 2.2 % wide: a percentile is within 1.1 % of the value."""

_OCTAVES = 28
"""From 1 us to 2**28 us = 268 s; what lies beyond counts in the first or last bin."""

_SHORTEST = 1e-6
_ORIGIN = -_FINE * log2(_SHORTEST)
_LAST = _FINE * _OCTAVES - 1
_BYTES = 8 * (_LAST + 1)


class Counter:
    """A number that only grows. Kept in a 64-bit cell, so that the workers of a host can share it."""

    __slots__ = ("_cell",)

    def __init__(self, cell: memoryview | None = None) -> None:
        self._cell = memoryview(bytearray(8)).cast("Q") if cell is None else cell

    def add(self, amount: int = 1) -> None:
        """Add *amount*, >= 0."""
        self._cell[0] += amount

    @property
    def value(self) -> int:
        """The count so far."""
        return self._cell[0]


class Histogram:
    """Durations in seconds, in fine logarithmic bins.

    Bins are kept for the present window and the one before: `recent`, `maximum` and `quantiles` look back
    over one to two windows; `count` and `total` never forget.
    """

    __slots__ = (
        "_before",
        "_before_previous",
        "_bins",
        "_maximum",
        "_previous",
        "_previous_maximum",
        "count",
        "total",
    )

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._bins, self._previous = _empty(), _empty()
        self._maximum = self._previous_maximum = 0.0
        self._before = self._before_previous = 0

    def record(self, seconds: float) -> None:
        """Count one duration."""
        index = int(log2(seconds) * _FINE + _ORIGIN) if seconds > _SHORTEST else 0
        self._bins[index if index < _LAST else _LAST] += 1  # noqa: FURB136 (min() would double the cost of the line)
        self.count += 1
        self.total += seconds
        if seconds > self._maximum:  # noqa: PLR1730 (max() would double the cost of the line)
            self._maximum = seconds

    def rotate(self) -> None:
        """Begin a new window; the one before the last is forgotten."""
        self._previous, self._bins = self._bins, _empty()
        self._previous_maximum, self._maximum = self._maximum, 0.0
        self._before_previous, self._before = self._before, self.count

    @classmethod
    def merged(cls, histograms: Iterable[Histogram]) -> Histogram:
        """Return a new histogram that holds what all of *histograms* hold; their windows become one."""
        merged = cls()
        cells = 0
        for each in histograms:
            cells += each._as_integer()  # noqa: SLF001 (one of its own class)
            merged.count += each.count
            merged.total += each.total
            merged._before_previous += each.count - each.recent
            merged._maximum = max(merged._maximum, each.maximum)
        merged._bins = memoryview(bytearray(cells.to_bytes(_BYTES, byteorder))).cast("Q")
        return merged

    def _as_integer(self) -> int:
        """Return the cells of both windows as one large integer, which adds up much faster than they do.

        No cell overflows into its neighbour: that takes 2**64 requests.
        """
        cells = int.from_bytes(self._bins, byteorder)
        if self._before > self._before_previous:
            cells += int.from_bytes(self._previous, byteorder)
        return cells

    @property
    def recent(self) -> int:
        """How many durations the last one to two windows counted."""
        return self.count - self._before_previous

    @property
    def maximum(self) -> float:
        """The longest of the last one to two windows, in seconds."""
        return max(self._maximum, self._previous_maximum)

    def quantiles(self, *fractions: float) -> list[float]:
        """Return the durations, in seconds, that each of *fractions* did not exceed; 0 if there are none."""
        if not self.recent:
            return [0.0] * len(fractions)
        cells = self._as_integer().to_bytes(_BYTES, byteorder)
        first = (_BYTES - len(cells.lstrip(b"\0"))) // 8  # most bins are empty: skip those before and after
        seen = list(accumulate(memoryview(cells).cast("Q")[first : 1 + len(cells.rstrip(b"\0")) // 8]))
        bins = (first + bisect_left(seen, each * seen[-1]) for each in fractions)
        return [min(_middle(index), self.maximum) for index in bins]


def _empty() -> memoryview:
    return memoryview(bytearray(_BYTES)).cast("Q")


def _middle(index: int) -> float:
    return float(2 ** ((index + 0.5 - _ORIGIN) / _FINE))
