"""What a job sees while it runs, and what it may say of how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade
    from sipup_middleware.jobs.handle import OpenJobs
    from sipup_middleware.store.handle import OpenStore

__all__ = ("Discard", "JobContext", "Retry")


class Retry(Exception):
    """Raised by a job to be run again after *after* seconds, if it has attempts left; None = its backoff."""

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Discard(Exception):
    """Raised by a job that can never succeed: it fails for good, with attempts left or without."""


async def _unseen(fraction: float) -> None:
    pass


@dataclass(slots=True, kw_only=True)
class JobContext:
    """One attempt at one job. ``db``, ``store`` and ``jobs`` are those of the worker's resources."""

    id: str
    """The same in every attempt: what a receiver tells repetitions by."""

    name: str
    attempt: int = 1
    """From 1."""

    meta: Mapping[str, str] = field(default_factory=dict)
    """``request_id`` and ``traceparent`` of the request that enqueued it."""

    report: Callable[[float], Awaitable[None]] = _unseen

    db: Facade = field(default=None, repr=False)  # type: ignore[assignment]  # (None: a worker without one)
    store: OpenStore = field(default=None, repr=False)  # type: ignore[assignment]  # (likewise)
    jobs: OpenJobs = field(default=None, repr=False)  # type: ignore[assignment]  # (likewise)

    async def progress(self, fraction: float) -> None:
        """Tell how far it is, from 0 to 1; also a sign of life."""
        await self.report(min(max(fraction, 0.0), 1.0))
