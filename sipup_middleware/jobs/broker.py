"""What the two brokers have in common: how jobs are handed over, and what can be asked about them.

A broker lives on its home; whoever enqueues needs asyncpg or redis-py, and none of SAQ.
"""

# ruff: noqa: ASYNC109 (the facade's signature)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sipup_middleware.jobs.policy import NewJob, Priority

__all__ = ("TIMEOUT", "Backlog", "Broker", "JobState", "Joins", "Numbers", "Status", "TypeNumbers")

TIMEOUT = 1.0
"""Seconds that a broker has to answer; after them it counts as away."""

Status = Literal["new", "queued", "active", "aborting", "aborted", "failed", "complete"]
"""SAQ's words."""


@dataclass(frozen=True, slots=True)
class JobState:
    """How far a job is."""

    status: Status
    result: Any = None
    error: str | None = None
    """The traceback of its last attempt."""

    @property
    def ended(self) -> bool:
        """Whether it will not run again."""
        return self.status in {"aborted", "failed", "complete"}


@dataclass(slots=True)
class Backlog:
    """The jobs of one priority."""

    queued: int = 0
    """Due and waiting."""

    active: int = 0
    oldest: float = 0.0
    """Seconds that the first in line has been due."""


@dataclass(slots=True)
class TypeNumbers:
    """What became of the jobs of one type, since they were first counted."""

    completed: int = 0
    retried: int = 0
    failed: int = 0
    p95: float | None = None
    """Seconds that an attempt takes, of those that the present workers ran lately."""


@dataclass(slots=True)
class Numbers:
    """The state of a queue, as its broker tells it."""

    backlogs: dict[Priority, Backlog]
    workers: int = 0
    """Processes that have given a sign of life lately."""

    dead: int = 0
    """Jobs that have failed for good and are still kept."""

    types: dict[str, TypeNumbers] = field(default_factory=dict)


class Joins(Protocol):
    """A database facade, as far as a broker needs one."""

    @property
    def database(self) -> tuple[str, str, str]:
        """Host, port and name."""

    async def fetch(self, sql: str, *args: object, timeout: float | None = None) -> list[Any]:
        """Return all rows, in the task's transaction if it is in one."""


class Broker(Protocol):
    """One queue on one server."""

    ready: bool
    """Whether `prepare` has nothing left to do."""

    async def prepare(self) -> None:
        """Make what the queue needs on its server. Raises `JobsUnavailable`."""

    async def start(self) -> None:
        """Prepare what is missing, if the server is there."""

    async def aclose(self) -> None:
        """Close every connection."""

    def joins(self, db: Joins) -> bool:
        """Say whether jobs can be written through *db*, in its transaction."""

    async def enqueue_within(self, db: Joins, jobs: Sequence[NewJob]) -> set[str]:
        """Write *jobs* through *db*, from its own loop; return the keys of those that are new."""

    async def enqueue(self, jobs: Sequence[NewJob]) -> set[str]:
        """Hand *jobs* over, all or none; return the keys of those that do not wait or run already."""

    async def ping(self) -> None:
        """Return if the server answers."""

    async def look(self, key: str) -> JobState | None:
        """Return how far a job is; None where it is not known, or no more."""

    async def numbers(self) -> Numbers:
        """Count."""
