"""What one wrapping of the jobs layer counts, and how health asks its broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sipup_middleware.errors import JobsUnavailable
from sipup_middleware.jobs.broker import Numbers
from sipup_middleware.telemetry import (
    BackendLost,
    BackendRestored,
    Check,
    JobsLost,
    Reading,
    Telemetry,
)

__all__ = ("Meters",)

_LATE = 60.0
"""Seconds that a job may be due before readiness warns."""


class Meters:
    """Counters, checks, facts and the report of one wrapped app; for the host's thread only."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._created = telemetry.counter("jobs.enqueued", outcome="created")
        self._duplicate = telemetry.counter("jobs.enqueued", outcome="duplicate")
        self._error = telemetry.counter("jobs.enqueued", outcome="error")
        self._lost = telemetry.counter("jobs.enqueued", outcome="lost")
        self._away = False

    def count(self, *, created: int, duplicates: int) -> None:
        """Count what was handed over: the broker answers."""
        self._created.add(created)
        self._duplicate.add(duplicates)
        self._answered()

    def unavailable(self, error: Exception) -> None:
        """Count a job that was refused because the broker is away, and tell so once."""
        self._error.add()
        self._failed(_kind(error))

    def lost(self, jobs: int, reason: str) -> None:
        """Tell of jobs whose transaction is committed and that could not be handed over after it."""
        self._lost.add(jobs)
        self._telemetry.emit(JobsLost(jobs, reason))
        self._failed(reason)

    def watch(self, read: Callable[[], Awaitable[Numbers]]) -> None:
        """Register the checks and the report, which ask the queue by *read*."""

        async def numbers() -> Numbers:
            try:
                told = await read()
            except JobsUnavailable as error:
                self._failed(_kind(error))
                raise
            self._answered()
            return told

        async def workers() -> Reading:
            alive = (await numbers()).workers
            return Reading(alive, None, *(("pass", "") if alive else ("warn", "no worker runs the jobs")))

        async def oldest() -> Reading:
            waited = max(each.oldest for each in (await numbers()).backlogs.values())
            late = waited > _LATE
            return Reading(
                round(waited, 1), "s", "warn" if late else "pass", "jobs wait too long" if late else ""
            )

        async def report() -> dict[str, Any]:
            return _document(await numbers())

        self._telemetry.check(Check("jobs:workers", workers, critical=False))
        self._telemetry.check(Check("jobs:oldest", oldest, critical=False))
        self._telemetry.report("jobs", report)

    def _answered(self) -> None:
        if self._away:
            self._away = False
            self._telemetry.emit(BackendRestored("jobs"))

    def _failed(self, reason: str) -> None:
        if not self._away:
            self._away = True
            self._telemetry.emit(BackendLost("jobs", reason))


def _kind(error: Exception) -> str:
    """Return what was wrong, by name: what its translation was raised for."""
    return type(error.__context__ or error).__name__


def _document(numbers: Numbers) -> dict[str, Any]:
    return {
        "workers": numbers.workers,
        "queues": {
            name: {"queued": each.queued, "active": each.active, "oldest_s": round(each.oldest, 1)}
            for name, each in numbers.backlogs.items()
        },
        "by_type": {
            name: {
                "completed": each.completed,
                "retried": each.retried,
                "failed": each.failed,
                "p95_ms": None if each.p95 is None else round(each.p95 * 1000, 1),
            }
            for name, each in sorted(numbers.types.items())
        },
        "dead": numbers.dead,
    }
