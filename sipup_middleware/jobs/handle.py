"""What a request sees of the jobs: it hands them over, and may ask how they went."""

# ruff: noqa: ASYNC109 (a timeout here is how long the caller wants to wait, not a cancellation of the job)

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from anyio import fail_after, move_on_after, sleep

from sipup_middleware.asgi import header
from sipup_middleware.bridge import Home
from sipup_middleware.context import Context
from sipup_middleware.errors import ConfigurationError, JobFailed, JobsUnavailable
from sipup_middleware.jobs.broker import TIMEOUT, Broker, Numbers
from sipup_middleware.jobs.meters import Meters
from sipup_middleware.jobs.policy import NewJob, Priority, describe
from sipup_middleware.jobs.task import Task

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("Job", "JobHandle", "JobQueue", "OpenJobs")

_FIRST_LOOK, _LONGEST_LOOK = 0.02, 0.5
"""Seconds between two looks at a job that somebody waits for."""

_LONGEST_KEY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One of many to enqueue: the arguments of ``enqueue``."""

    name: str = field(kw_only=False)
    """Of the `Task`."""

    payload: Mapping[str, Any] = field(default_factory=dict, kw_only=False, repr=False)
    """The function's keyword arguments: JSON, at most 256 KiB of it."""

    priority: Priority | None = None
    """None = the task's."""

    delay: float = 0
    """Seconds until it may run."""

    unique_key: str | None = None
    """While a job of this task and key waits or runs, another is not enqueued; None = it has no twin."""


_FRESH = 1.0
"""Seconds for which what the broker has counted is good."""


class JobQueue:
    """An open queue: its broker, where that lives, and the tasks that it knows."""

    def __init__(self, broker: Broker, home: Home, name: str, tasks: Mapping[str, Task]) -> None:
        self.broker = broker
        self.home = home
        self.name = name
        self.tasks = tasks
        self._turn = asyncio.Lock()
        self._numbers: Numbers | None = None
        self._numbers_of = 0.0

    async def start(self) -> None:
        """Make what is missing, if the server is there."""
        await self.broker.start()

    async def aclose(self) -> None:
        """Close the broker's connections."""
        await self.broker.aclose()

    async def numbers(self) -> Numbers:
        """Return what the broker counts, asked once a second at most; on the home."""
        async with self._turn:
            if self._numbers is None or monotonic() - self._numbers_of > _FRESH:
                self._numbers = None
                self._numbers = await self.broker.numbers()
                self._numbers_of = monotonic()
            return self._numbers


class JobHandle:
    """A job that was handed over."""

    __slots__ = ("_queue", "created", "id")

    def __init__(self, id: str, queue: JobQueue) -> None:  # noqa: A002 (what the whole field calls it)
        self.id = id
        """The same in every attempt."""
        self.created: bool | None = None
        """False = a job of this unique key waited or ran already, and this is that; None = it is handed over
        when the transaction is committed."""
        self._queue = queue

    async def result(self, *, timeout: float = 5) -> Any:  # noqa: ANN401 (what the task returns)
        """Wait until the job has ended, and return what it returned: JSON.

        Raises `JobFailed` where it failed, `TimeoutError` after *timeout* seconds, `JobsUnavailable`.
        """
        pause = _FIRST_LOOK
        with fail_after(timeout):
            while True:
                state = await self._queue.home.call(self._queue.broker.look, self.id)
                if state is not None and state.ended:
                    break
                await sleep(pause)
                pause = min(2 * pause, _LONGEST_LOOK)
        if state.status == "complete":
            return state.result
        last_words = (state.error or state.status).strip().rpartition("\n")[2]
        raise JobFailed(f"job {self.id} has failed: {last_words}")

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}, created={self.created}>"


class OpenJobs:
    """Hands jobs over. Inside a transaction of the request's database they are committed, or never sent.

    Where the queue is not in that database (Redis, another PostgreSQL), they are sent just after COMMIT: a
    crash in that moment loses them.
    """

    __slots__ = ("_context", "_db", "_meters", "_queue_of")

    def __init__(
        self,
        queue_of: Callable[[], JobQueue],
        meters: Meters,
        *,
        context: Context | None = None,
        db: Facade | None = None,
    ) -> None:
        self._queue_of = queue_of
        self._meters = meters
        self._context = context
        self._db = db

    @property
    def _queue(self) -> JobQueue:
        return self._queue_of()

    def beside(self, db: Facade | None) -> OpenJobs:
        """Return the same for those who use *db*: what they enqueue joins its transactions."""
        return OpenJobs(self._queue_of, self._meters, db=db)

    async def enqueue(  # noqa: PLR0913 (what there is to say of a job)
        self,
        name: str,
        payload: Mapping[str, Any] | None = None,
        *,
        priority: Priority | None = None,
        delay: float = 0,
        unique_key: str | None = None,
        within: Facade | None = None,
    ) -> JobHandle:
        """Enqueue one job; the arguments are `Job`'s. *within*: the database to join, outside a request.

        Raises `ConfigurationError` for an unknown name or a payload that does not fit, `JobsUnavailable`;
        through a database also what its statements raise.
        """
        job = Job(name, payload or {}, priority=priority, delay=delay, unique_key=unique_key)
        return (await self.enqueue_many([job], within=within))[0]

    async def enqueue_many(self, jobs: Iterable[Job], *, within: Facade | None = None) -> list[JobHandle]:
        """Enqueue all of *jobs* or none, by one statement."""
        meta = self._meta()
        new = [self._new(each, meta) for each in jobs]
        distinct = {each.key: each for each in reversed(new)}  # of twins the first counts
        handles = [JobHandle(each.key, self._queue) for each in new]
        if not new:
            return handles
        try:
            made = await self._hand_over([*distinct.values()][::-1], within or self._facade())
        except Exception as error:
            self._note(error)
            raise
        if made is not None:
            for handle in handles:
                handle.created = handle.id in made
                made.discard(handle.id)
        return handles

    async def _hand_over(self, jobs: list[NewJob], db: Facade | None) -> set[str] | None:
        """Return the keys of those that are new; None where it is not known before COMMIT."""
        queue, broker = self._queue, self._queue.broker
        if not broker.ready:
            await queue.home.call(broker.prepare)
        if db is not None and broker.joins(db):
            made = await broker.enqueue_within(db, jobs)
        elif db is not None and db.in_transaction:
            await queue.home.call(broker.ping)  # what is away already must not be found so after COMMIT
            db.after_commit(lambda: self._send_late(jobs))
            return None
        else:
            made = await queue.home.call(broker.enqueue, jobs)
        self._meters.count(created=len(made), duplicates=len(jobs) - len(made))
        return set(made)

    async def _send_late(self, jobs: list[NewJob]) -> None:
        """Hand *jobs* over after COMMIT: neither an outage nor a cancellation may fail what is committed."""
        with move_on_after(TIMEOUT, shield=True):
            try:
                made = await self._queue.home.call(self._queue.broker.enqueue, jobs)
            except Exception as error:  # noqa: BLE001 (whatever it is, the data is committed)
                self._meters.lost(len(jobs), type(error).__name__)
            else:
                self._meters.count(created=len(made), duplicates=len(jobs) - len(made))
            return
        self._meters.lost(len(jobs), "TimeoutError")

    def _new(self, job: Job, meta: Mapping[str, str]) -> NewJob:
        task = self._queue.tasks.get(job.name)
        if task is None:
            known = ", ".join(sorted(self._queue.tasks)) or "none"
            raise ConfigurationError(f"no task is named {job.name!r}; Jobs.tasks has: {known}")
        task.examine(job.payload)
        if job.unique_key is not None and not 0 < len(job.unique_key) <= _LONGEST_KEY:
            raise ConfigurationError(f"unique_key must have 1 to {_LONGEST_KEY} characters")
        return describe(
            task.name,
            job.payload,
            key=self._key(task, job.unique_key),
            queue=self._queue.name,
            priority=job.priority or task.priority,
            retries=task.retries,
            timeout=task.timeout,
            now=time.time(),
            delay=job.delay,
            meta=meta,
        )

    def _key(self, task: Task, unique: str | None) -> str:
        """Return a job's id: on PostgreSQL all queues share one table of them."""
        return uuid4().hex if unique is None else f"{self._queue.name}:{task.name}:{unique}"

    def _facade(self) -> Facade | None:
        return self._db if self._context is None else getattr(self._context, "db", None)

    def _meta(self) -> dict[str, str]:
        if self._context is None:
            return {}
        meta = {"request_id": self._context.request_id}
        if parent := header(self._context.scope, b"traceparent"):
            meta["traceparent"] = parent.decode("latin-1")[:64]
        return meta

    def _note(self, error: Exception) -> None:
        if isinstance(error, JobsUnavailable):
            self._meters.unavailable(error)
            if self._context is not None:
                self._context.failure = error

    def __repr__(self) -> str:
        return f"<OpenJobs of {'a request' if self._context else 'an open queue'}>"
