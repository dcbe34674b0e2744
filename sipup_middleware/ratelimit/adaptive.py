"""How many requests at once, and how late the loop is: arithmetic on what others measured, without a clock.

The limit follows Gradient2 of Netflix's concurrency-limits (``Gradient2Limit.java``): it falls while the mean
latency of a window is above the long-term mean, and is left alone while the app does not use half of it. As
in Envoy's adaptive concurrency filter a window is short and the limit grows by its square root, so that it is
back within seconds. Two weaknesses come with it: a slowness that lasts for minutes becomes the norm, and a
shift of the traffic towards slow paths looks like a slowness.
"""

from __future__ import annotations

from math import inf, log2, sqrt
from typing import NamedTuple

__all__ = ("FEWEST", "FLOOR", "HALF_LIFE", "WINDOW", "AdaptiveLimit", "Level", "LoopLag", "adapt")

FLOOR = 20
"""The limit never falls below this: it is within the noise of any app."""

WINDOW = 0.25
"""Seconds of responses that the limit is adapted to at once, ..."""

FEWEST = 10
"""... and how many responses there have to be, however long it takes."""

HALF_LIFE = 0.5
"""Seconds in which a lag that was seen counts for half."""

_TOLERANCE = 1.5
"""How much longer than the long-term mean is still as usual."""

_STEEPEST = 0.5
_SMOOTHING = 0.2
"""Together: a window takes a tenth of the limit away at most."""

_WARM_UP = 10
_LONG = WINDOW / 300
"""What a window weighs in the long-term mean, that of some five minutes; while warming up all weigh alike."""

_DRIFTED = 2.0
_DRIFT = 0.9
"""A long-term mean of twice the present one is a leftover of bad times: forget it faster than it fades."""


class Level(NamedTuple):
    """The limit, and what it is judged by."""

    limit: float
    baseline: float = 0.0
    """The long-term mean latency in seconds."""

    windows: int = 0
    """How many windows there were."""


def adapt(level: Level, latency: float, peak: int, *, floor: int, cap: int) -> Level:
    """Return what follows from a window of this mean *latency* with up to *peak* requests in flight."""
    windows = level.windows + 1
    weight = 1 / windows if windows <= _WARM_UP else _LONG
    baseline = level.baseline + (latency - level.baseline) * weight
    if baseline > _DRIFTED * latency:
        baseline *= _DRIFT
    limit = level.limit
    if peak >= limit / 2:  # else the app was never asked for what the limit allows: nothing was learnt
        limit = max(floor, min(cap, limit + _step(limit, latency, _TOLERANCE * baseline)))
    return Level(limit, baseline, windows)


def _step(limit: float, latency: float, usual: float) -> float:
    if latency <= usual:
        return sqrt(limit)
    gradient = max(_STEEPEST, usual / latency)
    return _SMOOTHING * (limit * gradient + sqrt(limit) - limit)


class AdaptiveLimit:
    """Gathers responses into windows and adapts the limit to each; begins at *cap*: the app is trusted."""

    __slots__ = ("_cap", "_count", "_due", "_floor", "_peak", "_total", "level")

    def __init__(self, cap: int) -> None:
        self.level = Level(float(cap))
        self._cap = cap
        self._floor = min(FLOOR, cap)
        self._due = -inf
        self._count = self._peak = 0
        self._total = 0.0

    def record(self, seconds: float, inflight: int, now: float) -> int:
        """Count one response among *inflight* requests; return the limit from *now* on."""
        self._count += 1
        self._total += seconds
        if inflight > self._peak:  # noqa: PLR1730 (max() would double the cost of the line)
            self._peak = inflight
        if self._count >= FEWEST and now >= self._due:
            mean = self._total / self._count
            self.level = adapt(self.level, mean, self._peak, floor=self._floor, cap=self._cap)
            self._due = now + WINDOW
            self._count = self._peak = 0
            self._total = 0.0
        return int(self.level.limit)


class LoopLag:
    """The worst delay of late: a maximum that decays."""

    __slots__ = ("_most", "_seen", "_worst", "until")

    def __init__(self, most: float) -> None:
        self.until = -inf
        """When the lag is, or was, down to *most* again."""
        self._most = most
        self._worst = 0.0
        self._seen = 0.0

    def observe(self, seconds: float, now: float) -> None:
        """Take note of a delay of so many *seconds* that ended *now*."""
        if seconds >= self.at(now):
            self._worst, self._seen = seconds, now
            if seconds > self._most:
                self.until = now + HALF_LIFE * log2(seconds / self._most)

    def at(self, now: float) -> float:
        """Return what the lag counts for *now*."""
        age = now - self._seen
        return self._worst * 2.0 ** (-age / HALF_LIFE) if age > 0 else self._worst
