"""The settings of SAQ's worker: our queue, the tasks, and a stack that is open as long as it works."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs.attempt import delay_of, runner
from sipup_middleware.jobs.backend import Ours
from sipup_middleware.jobs.handle import OpenJobs
from sipup_middleware.log import log
from sipup_middleware.telemetry import Telemetry

if TYPE_CHECKING:
    from sipup_middleware.jobs.config import Jobs

__all__ = ("Resourceful", "Worker")

_QUEUE_CONNECTIONS = 4
"""Connections of SAQ's own pool on PostgreSQL: one listens, the others write down how jobs went."""

_TIMERS = {"schedule": 1, "worker_info": 2, "sweep": 10, "abort": 1}
"""Seconds."""


class Resourceful(Protocol):
    """A `Stack`: opens what its layers hold."""

    def open(self, *, db_connections: int | None = None) -> AbstractAsyncContextManager[Any]:
        """Open it; yields an object with ``db``, ``store`` and ``jobs``, None for what is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What ``saq module.attribute`` takes: called, it gives SAQ's settings."""

    jobs: Jobs = field(kw_only=False)
    resources: Resourceful | None
    concurrency: int
    grace: int
    db_connections: int

    def __post_init__(self) -> None:
        if self.jobs.scheme == "memory":
            raise ConfigurationError("Jobs('memory://') does the work as it is enqueued: it has no worker")
        for name, least in (("concurrency", 1), ("grace", 0), ("db_connections", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(
                    f"worker's {name} must be at least {least}, not {getattr(self, name)}"
                )

    def __call__(self) -> dict[str, Any]:
        """Return the settings; connects to nothing yet."""
        telemetry = Telemetry([log])
        tasks = {each.name: each for each in self.jobs.tasks}
        queue = self._queue()
        queue.prepare(telemetry, delay_of(tasks))
        shift = _Shift(self, queue)
        return {
            "queue": queue,
            "functions": [
                (name, runner(task, shift.surroundings, telemetry)) for name, task in tasks.items()
            ],
            "concurrency": self.concurrency,
            "startup": shift.begin,
            "shutdown": shift.end,
            "timers": dict(_TIMERS),
            "shutdown_grace_period_s": self.grace,
        }

    def _queue(self) -> Ours:
        url, name = self.jobs.url, self.jobs.queue
        if url.startswith("postgres"):
            from sipup_middleware.jobs.backend_postgres import PostgresJobs  # noqa: PLC0415 (only its URL needs psycopg)

            return PostgresJobs(url, name, connections=_QUEUE_CONNECTIONS)
        from sipup_middleware.jobs.backend_redis import RedisJobs  # noqa: PLC0415 (only its URL needs redis-py)

        return RedisJobs(url, name, connections=self.concurrency + _QUEUE_CONNECTIONS)


class _Shift:
    """One worker's time at work: resources open from its start to its end."""

    def __init__(self, worker: Worker, queue: Ours) -> None:
        self._worker = worker
        self._queue = queue
        self._opened = AsyncExitStack()
        self._resources: dict[str, Any] = {}
        self._farewell: asyncio.Task[None] | None = None

    def surroundings(self) -> dict[str, Any]:
        """Return what a job's context has beside the job."""
        return self._resources

    async def begin(self, context: dict[str, Any]) -> None:
        """Open the resources, before the first job."""
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # an outage is told once, by us
        worker = self._worker
        if worker.resources is not None:
            opening = worker.resources.open(db_connections=worker.db_connections)
            opened = await self._opened.enter_async_context(opening)
            self._resources = {"db": opened.db, "store": opened.store}
        jobs: OpenJobs = await self._opened.enter_async_context(worker.jobs.open())
        self._resources["jobs"] = jobs.beside(self._resources.get("db"))
        self._farewell = asyncio.get_running_loop().create_task(self._watch(context["worker"]))

    async def end(self, context: dict[str, Any]) -> None:  # noqa: ARG002 (SAQ's signature)
        """Close the resources, after the last job."""
        with suppress(Exception):  # an outage must not keep the worker from ending
            await self._queue.flush()
        if self._farewell is not None:
            self._farewell.cancel()
        await self._opened.aclose()

    async def _watch(self, worker: Any) -> None:  # noqa: ANN401 (SAQ's class is generic over its context)
        """Let a worker that was told to stop wait for its jobs alone, not for the naps of its upkeep."""
        upkeep = [task for task in worker.tasks if task.get_name() != "process"]
        await worker.event.wait()
        self._queue.stop()
        for task in upkeep:
            task.cancel()
