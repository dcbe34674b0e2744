"""What a user may say about background jobs, checked as it is said."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.types import ASGIApp

from sipup_middleware.bridge import Home
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs.broker import Broker, Numbers
from sipup_middleware.jobs.handle import JobQueue, OpenJobs
from sipup_middleware.jobs.inline import InlineBroker
from sipup_middleware.jobs.meters import Meters
from sipup_middleware.jobs.middleware import JobsMiddleware
from sipup_middleware.jobs.task import Task
from sipup_middleware.lifespan import Opening
from sipup_middleware.redis_pool import SCHEMES
from sipup_middleware.telemetry import Telemetry
from sipup_middleware.urls import masked

if TYPE_CHECKING:
    from sipup_middleware.jobs.worker import Resourceful

__all__ = ("Jobs",)

_POSTGRES = ("postgresql", "postgres")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Jobs:
    """Work that a request hands over, to be done by a worker of SAQ's; committed with the request's data."""

    url: str = field(kw_only=False)
    """The queue: ``postgresql://`` (best the database of the `Database` layer), ``redis://``, ``rediss://``,
    ``valkey://``, ``unix:///path?db=0``; ``memory://`` does the work as it is enqueued, for tests."""

    tasks: Sequence[Task] = ()
    """What can be enqueued; ``@job`` makes them of functions."""

    queue: str = "sipup"
    """The queue's name on its server: letters, digits, ``_-``."""

    provides: ClassVar[str] = "jobs"

    _opening: Opening[JobQueue] = field(default_factory=Opening, init=False, compare=False)

    def __post_init__(self) -> None:
        scheme = self.scheme
        known = (*_POSTGRES, *SCHEMES, "memory")
        if scheme not in known:
            raise ConfigurationError(
                f"Jobs.url has an unknown scheme; known: {', '.join(f'{each}://' for each in known)}"
            )
        if not _NAME.fullmatch(self.queue):
            raise ConfigurationError(f"Jobs.queue must be 1 to 32 of A-Z a-z 0-9 _ -, not {self.queue!r}")
        object.__setattr__(self, "tasks", tuple(self.tasks))
        for each in self.tasks:
            if not isinstance(each, Task):
                raise ConfigurationError(f"Jobs.tasks takes what @job makes, not {each!r}")
        names = [each.name for each in self.tasks]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"Jobs.tasks must have names of their own, not {names}")
        self._broker()  # inert: a missing extra or an unreadable URL speaks now

    def __call__(self, app: ASGIApp, *, telemetry: Telemetry | None = None) -> ASGIApp:
        """Wrap *app*."""
        meters = Meters(telemetry or Telemetry())

        async def numbers() -> Numbers:
            queue = self._queue()
            return await queue.home.call(queue.numbers)

        if self.scheme != "memory":
            meters.watch(numbers)
        return JobsMiddleware(
            app, opened=lambda: self._opening.open(self._build), queue_of=self._queue, meters=meters
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OpenJobs]:
        """Open the queue, or share the open one, for workers, scripts and tests."""
        async with self._opening.open(self._build) as queue:
            yield OpenJobs(lambda: queue, Meters(Telemetry()))

    def worker(
        self,
        *,
        resources: Resourceful | None = None,
        concurrency: int = 10,
        grace: int = 25,
        db_connections: int = 5,
    ) -> Callable[[], dict[str, Any]]:
        """Return what ``saq module.attribute`` takes: a callable that gives SAQ's settings.

        *resources* is the `Stack` whose database and store a job finds in its context; *concurrency* the
        jobs that run at once; *grace* the seconds that they get when the worker is told to stop;
        *db_connections* the size of its pool, which your budget must leave room for.
        """
        from sipup_middleware.jobs.worker import Worker  # noqa: PLC0415 (SAQ is the worker's alone)

        return Worker(
            self, resources=resources, concurrency=concurrency, grace=grace, db_connections=db_connections
        )

    @property
    def scheme(self) -> str:
        """What the URL begins with."""
        return self.url.partition("://")[0] if "://" in self.url else ""

    def _queue(self) -> JobQueue:
        return self._opening.get(self._build)

    def _build(self, home: Home) -> JobQueue:
        return JobQueue(self._broker(), home, self.queue, {each.name: each for each in self.tasks})

    def _broker(self) -> Broker:
        if self.scheme in _POSTGRES:
            from sipup_middleware.jobs.postgres import PostgresBroker  # noqa: PLC0415 (needs asyncpg)

            return PostgresBroker(self.url, self.queue)
        if self.scheme in SCHEMES:
            from sipup_middleware.jobs.redis import RedisBroker  # noqa: PLC0415 (only its URL needs redis-py)

            return RedisBroker(self.url, self.queue)
        return InlineBroker({each.name: each for each in self.tasks})

    def __repr__(self) -> str:
        names = ", ".join(each.name for each in self.tasks)
        return f"Jobs({masked(self.url)!r}, tasks=({names}), queue={self.queue!r})"
