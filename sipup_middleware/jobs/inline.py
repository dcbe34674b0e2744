"""No server and no worker: the work is done as it is enqueued, in the caller's own task. For tests."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from contextlib import suppress

import orjson

from sipup_middleware import context
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs.broker import Backlog, JobState, Joins, Numbers
from sipup_middleware.jobs.policy import PRIORITIES, NewJob
from sipup_middleware.jobs.running import JobContext
from sipup_middleware.jobs.task import Task

__all__ = ("InlineBroker",)

_KEPT = 1000


class InlineBroker:
    """Runs each job once; how it ended can be asked for until a thousand more have run."""

    ready = True

    def __init__(self, tasks: dict[str, Task]) -> None:
        self.ran: dict[str, JobState] = {}
        self._tasks = tasks

    async def prepare(self) -> None:
        """Do nothing."""

    async def start(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Forget what ran."""
        self.ran.clear()

    def joins(self, db: Joins) -> bool:  # noqa: ARG002 (the broker's signature)
        """Say no: what runs in a transaction would not be undone with it."""
        return False

    async def enqueue_within(self, db: Joins, jobs: Sequence[NewJob]) -> set[str]:  # noqa: ARG002 (the broker's signature)
        """Run *jobs*."""
        return await self.enqueue(jobs)

    async def enqueue(self, jobs: Sequence[NewJob]) -> set[str]:
        """Run *jobs*, each to its end; one that raises has failed, and harms nobody."""
        for each in jobs:
            await self._run(each)
        return {each.key for each in jobs}

    async def _run(self, job: NewJob) -> None:
        fields = orjson.loads(job.document)
        ctx = _surroundings(JobContext(id=job.key, name=fields["function"], meta=fields["meta"]))
        try:
            result = await self._tasks[ctx.name](ctx, **fields["kwargs"])
        except Exception:  # noqa: BLE001 (a job may raise what it likes)
            state = JobState("failed", None, traceback.format_exc())
        else:
            state = JobState("complete", result)
        if len(self.ran) >= _KEPT:
            del self.ran[next(iter(self.ran))]
        self.ran[job.key] = state

    async def ping(self) -> None:
        """Do nothing."""

    async def look(self, key: str) -> JobState | None:
        """Return how it ended."""
        return self.ran.get(key)

    async def numbers(self) -> Numbers:
        """Count nothing: nothing waits."""
        return Numbers({name: Backlog() for name in PRIORITIES}, workers=1)


def _surroundings(ctx: JobContext) -> JobContext:
    """Give the job what its enqueuer's request has."""
    with suppress(ConfigurationError):  # there is none
        request = context.current()
        for name in ("db", "store", "jobs"):
            setattr(ctx, name, getattr(request, name, None))
    return ctx
