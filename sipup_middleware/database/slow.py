"""Statements that took long: which, on which route, how often and how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import Any

from starlette.types import Scope

from sipup_middleware.database.leaks import route_of
from sipup_middleware.database.normal import normal
from sipup_middleware.telemetry import Histogram, SlowQuery, Telemetry

__all__ = ("SlowQueries",)

_KEPT = 256
"""Statements kept, each with its route; beyond them the one that has cost the least goes."""

_SHOWN = 50
"""Statements that the metrics show, the costliest first."""

_SILENCE = 60.0
"""Seconds until the same statement is told of again."""


@dataclass(slots=True)
class _Entry:
    """What is known of one statement on one route."""

    took: Histogram = field(default_factory=Histogram)
    """Never rotated: it remembers all."""

    last: float = 0.0
    told: float = -_SILENCE

    def shown(self) -> dict[str, float]:
        (p99,) = self.took.quantiles(0.99)
        return {
            "count": self.took.count,
            "total_s": round(self.took.total, 3),
            "max_s": round(self.took.maximum, 3),
            "p99_s": round(p99, 3),
            "last_seen": round(self.last, 3),
        }


class SlowQueries:
    """What took *threshold* seconds or more, as the client sees it: the way there and back included."""

    def __init__(self, telemetry: Telemetry, threshold: float, *, clock: Callable[[], float] = time) -> None:
        self.threshold = threshold
        self._telemetry = telemetry
        self._clock = clock
        self._counter = telemetry.counter("database.slow")
        self._entries: dict[tuple[str, str], _Entry] = {}
        telemetry.report("database.slow", self.report)

    async def report(self) -> dict[str, Any]:
        """Return the section of the metrics."""
        costly = sorted(self._entries.items(), key=lambda item: -item[1].took.total)[:_SHOWN]
        queries = [{"sql": sql, "route": route, **entry.shown()} for (sql, route), entry in costly]
        return {"threshold_s": self.threshold, "total": self._counter.value, "queries": queries}

    def record(self, text: str, scope: Scope | None, seconds: float) -> None:
        """Count a statement that was slow."""
        self._counter.add()
        sql, route = normal(text).text, route_of(scope)
        entry = self._entries.get((sql, route)) or self._admit(sql, route)
        entry.took.record(seconds)
        entry.last = now = self._clock()
        if now - entry.told >= _SILENCE:
            entry.told = now
            self._telemetry.emit(SlowQuery(sql, route, round(seconds, 3), entry.took.count))

    def _admit(self, sql: str, route: str) -> _Entry:
        if len(self._entries) >= _KEPT:
            del self._entries[min(self._entries, key=lambda each: self._entries[each].took.total)]
        entry = self._entries[sql, route] = _Entry()
        return entry
