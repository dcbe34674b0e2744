"""What a test asks of a queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from sipup_middleware.jobs import JobHandle, OpenJobs
from sipup_middleware.jobs.broker import JobState, Numbers

__all__ = ("look", "numbers", "poll", "queued")


async def numbers(jobs: OpenJobs) -> Numbers:
    """Ask the broker itself: the queue may tell what it heard some moments ago."""
    return await jobs._queue.home.call(jobs._queue.broker.numbers)


async def look(jobs: OpenJobs, job: JobHandle | str) -> JobState | None:
    """Return how far *job*, or that of this id, is."""
    return await jobs._queue.home.call(jobs._queue.broker.look, job if isinstance(job, str) else job.id)


async def queued(jobs: OpenJobs) -> int:
    """Count the jobs that are due and wait."""
    return sum(each.queued for each in (await numbers(jobs)).backlogs.values())


async def poll(holds: Callable[[], Awaitable[bool]], *, within: float = 20) -> None:
    """Wait until it *holds*."""
    with anyio.fail_after(within):
        while not await holds():  # noqa: ASYNC110 (another process has no event to wait for)
            await anyio.sleep(0.02)
