"""One attempt at one job, and what follows from how it ended."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from random import random
from typing import TYPE_CHECKING, Any

import orjson

from sipup_middleware.jobs.backend import QuietJob, Status
from sipup_middleware.jobs.policy import delay_before
from sipup_middleware.jobs.running import Discard, JobContext, Retry
from sipup_middleware.jobs.task import Task
from sipup_middleware.telemetry import JobAttemptFailed, Telemetry

if TYPE_CHECKING:
    from saq.job import Job

__all__ = ("delay_of", "runner")

_LOGGER = logging.getLogger("sipup_middleware")
_LONGEST_TRACE = 10_000
"""Characters of a traceback that are kept: the last."""

_LONGEST_WAIT = 3600.0
"""Seconds that a `Retry` may ask for."""

Context = dict[str, Any]
"""SAQ's."""


def delay_of(tasks: dict[str, Task]) -> Callable[[Job], float]:
    """Return what says how long a job waits for its next attempt."""

    def delay(job: Job) -> float:
        asked, job.retry_delay = job.retry_delay, 0.0
        stopped_in_its_first = job.attempts < 1
        if asked or stopped_in_its_first:
            return asked
        task = tasks.get(job.function)
        drawn = random()  # noqa: S311 (spreads the retries, guards nothing)
        return delay_before(task.backoff, job.attempts, drawn) if task else 1.0

    return delay


def runner(
    task: Task, surroundings: Callable[[], dict[str, Any]], telemetry: Telemetry
) -> Callable[..., Any]:
    """Return the function that SAQ calls for *task*; *surroundings*: its ``db``, ``store``, ``jobs``."""

    async def run(context: Context, /, **payload: Any) -> Any:  # noqa: ANN401 (what the task returns)
        job: Job = context["job"]
        ctx = JobContext(
            id=job.key,
            name=task.name,
            attempt=job.attempts,
            meta=job.meta,
            report=lambda fraction: job.update(progress=fraction),
        )
        for name, value in surroundings().items():
            setattr(ctx, name, value)
        try:
            async with asyncio.timeout(task.timeout):
                return _told(task, await task(ctx, **payload))
        except Exception as error:  # noqa: BLE001 (a job may raise what it likes)
            await _settle(job, error, telemetry)
            return None

    return run


async def _settle(job: Job, error: Exception, telemetry: Telemetry) -> None:
    """Write down the end of an attempt that failed, in SAQ's place: it would log the payload's traceback."""
    trace = "".join(traceback.format_exception(error))[-_LONGEST_TRACE:]
    again = job.retryable and not isinstance(error, Discard)
    if again:
        asked = error.after if isinstance(error, Retry) and error.after is not None else None
        job.retry_delay = 0.0 if asked is None else min(max(asked, 0.001), _LONGEST_WAIT)
        await job.retry(trace)
    else:
        await job.finish(Status.FAILED, error=trace)
    if isinstance(job, QuietJob):
        job.settled = True
    pause = max(0.0, job.scheduled - job.touched / 1000) if again else None
    telemetry.emit(JobAttemptFailed(job.function, job.key, job.attempts, type(error).__name__, pause))


def _told(task: Task, result: object) -> object:
    """Return *result* if it is JSON: what cannot be told must not make done work run again."""
    try:
        orjson.dumps(result)
    except TypeError:
        _LOGGER.warning("job %s returned %s, which is not JSON: dropped", task.name, type(result).__name__)
        return None
    return result
