"""SAQ's queues as our worker needs them: quiet about payloads, patient with a broker that is away.

What is changed is changed at SAQ's own seams, and nothing of how it stores jobs: retry delays are ours, every
end is counted, a dead broker is waited for, a worker that stops takes no more. SAQ 0.26 is meant throughout.
"""

# ruff: noqa: ASYNC109 (SAQ's signatures)

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from sipup_middleware.errors import MissingExtra
from sipup_middleware.jobs.durations import bin_of
from sipup_middleware.jobs.policy import DEAD_FOR
from sipup_middleware.telemetry import BackendLost, BackendRestored, Telemetry

try:
    from saq.job import Job, Status
    from saq.queue.base import Queue
    from saq.utils import now as now_in_ms
except ImportError as missing:
    raise MissingExtra("jobs") from missing

if TYPE_CHECKING:
    from saq.types import WorkerInfo

__all__ = ("OUTCOMES", "Ours", "QuietJob", "Status", "Tally")

T = TypeVar("T")

OUTCOMES = ("completed", "retried", "failed")
_INTERRUPTED = "cancelled"
"""SAQ's word for a job that did not end in the grace of a worker told to stop."""

_WINDOW = 60.0
"""Seconds; durations are told of the last one to two of them."""

_ALIVE = 10
"""Seconds that a worker counts as there after a sign of life; it gives one every two."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two attempts to reach a broker that is away."""


class QuietJob(Job):
    """A job whose repr, which SAQ logs, holds no payload, result or traceback."""

    settled = False
    """Whether its end is written down already, so that what SAQ would write is not."""

    def info(self, full: bool = False) -> str:  # noqa: ARG002, FBT001, FBT002 (SAQ's signature)
        """Return what may be logged."""
        return f"{self.function} {self.key} (attempt {self.attempts} of {self.retries})"


class Tally:
    """What this worker's jobs came to since it was last written down, and how long they took lately."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, int]] = {}
        self.durations: dict[str, dict[str, int]] = {}
        self._before: dict[str, dict[str, int]] = {}

    def count(self, name: str, outcome: str, seconds: float) -> None:
        """Count one attempt."""
        self.counts.setdefault(name, dict.fromkeys(OUTCOMES, 0))[outcome] += 1
        bins = self.durations.setdefault(name, defaultdict(int))
        bins[str(bin_of(seconds))] += 1

    def take(self) -> dict[str, dict[str, int]]:
        """Return the counts and begin anew; give them to `put_back` if they could not be written."""
        taken, self.counts = self.counts, {}
        return taken

    def put_back(self, counts: dict[str, dict[str, int]]) -> None:
        """Add what `take` gave."""
        for name, outcomes in counts.items():
            mine = self.counts.setdefault(name, dict.fromkeys(OUTCOMES, 0))
            for outcome, count in outcomes.items():
                mine[outcome] += count

    def rotate(self) -> None:
        """Forget the durations of the window before the last."""
        self._before, self.durations = self.durations, {}

    @property
    def lately(self) -> dict[str, dict[str, int]]:
        """The bins of the last one to two windows."""
        both: dict[str, dict[str, int]] = {}
        for window in (self._before, self.durations):
            for name, bins in window.items():
                mine = both.setdefault(name, {})
                for number, count in bins.items():
                    mine[number] = mine.get(number, 0) + count
        return both


class Ours(Queue):
    """What both of our queues do; stands before SAQ's class."""

    away: tuple[type[Exception], ...]
    """What says that the broker is out of reach."""

    def prepare(self, telemetry: Telemetry, delay_of: Callable[[Job], float]) -> None:
        """Take what SAQ's constructor has no place for."""
        self.tally = Tally()
        self.stopping = False
        self._telemetry = telemetry
        self._delay_of = delay_of
        self._lost = False
        self._answered = 0.0
        self._pause = _FIRST_PAUSE
        self._window_ends = time.monotonic() + _WINDOW
        self._dump, self._load = orjson.dumps, orjson.loads

    def stop(self) -> None:
        """Hand out no more jobs, and let go of those who wait for one."""
        self.stopping = True

    def deserialize(
        self, payload: dict[str, Any] | str | bytes | None, status: Status | str | None = None
    ) -> Job | None:
        """Return a `QuietJob`."""
        job = super().deserialize(payload, status)
        if job is not None:
            job.__class__ = QuietJob
        return job

    async def finish(
        self,
        job: Job,
        status: Status,
        *,
        result: object = None,
        error: str | None = None,
        **more: Any,  # noqa: ANN401 (what SAQ hands from one of its methods to another)
    ) -> None:
        """Count the end; a job that has failed is kept for 30 days."""
        if status == Status.COMPLETE and isinstance(job, QuietJob) and job.settled:
            return
        if status == Status.FAILED:
            job.ttl = DEAD_FOR
        await super().finish(job, status, result=result, error=error, **more)
        if status in {Status.COMPLETE, Status.FAILED}:
            outcome = "completed" if status == Status.COMPLETE else "failed"
            self.tally.count(job.function, outcome, (job.completed - job.started) / 1000)

    async def retry(self, job: Job, error: str | None) -> None:
        """Put a job back; one that the end of its worker interrupted has not used an attempt up."""
        began = job.started or now_in_ms()  # 0 = its worker was killed between fetching and beginning it
        if error == _INTERRUPTED:
            job.attempts -= 1
        await super().retry(job, error)
        if error != _INTERRUPTED:
            self.tally.count(job.function, "retried", (now_in_ms() - began) / 1000)

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Job | None:
        """Return the next job; None once the worker stops, and after a pause where the broker is away."""
        if self.stopping:
            return None
        began = time.monotonic()
        try:
            job = await self.take(timeout, poll_interval)
        except self.away as error:
            self._missed(error, began)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            await asyncio.sleep(self._pause)
            return None
        if job is not None:  # a wait that ended with none may have lost its connection
            self._reached()
        return job

    async def schedule(self, lock: int = 1) -> list[str]:
        """Let what is due be run, if the broker is there."""
        return await self._if_there(self.schedule_due(lock))

    async def sweep(self, lock: int = 60, abort: float = 5.0) -> list[str]:
        """Find the jobs that their worker has left, if the broker is there."""
        return await self._if_there(self.sweep_up(lock, abort))

    async def write_worker_info(self, worker_id: str, info: WorkerInfo, ttl: int) -> None:
        """Give a sign of life, and write down what was counted, if the broker is there."""
        began = time.monotonic()
        if began >= self._window_ends:
            self._window_ends = began + _WINDOW
            self.tally.rotate()
        info["metadata"] = {**(info["metadata"] or {}), "durations": self.tally.lately}
        try:
            await self.tell_worker_info(worker_id, info, max(ttl, _ALIVE))
            await self.flush()
        except self.away as error:
            self._missed(error, began)
        else:
            self._reached()

    async def flush(self) -> None:
        """Write down what was counted."""
        if not self.tally.counts:
            return
        counts = self.tally.take()
        try:
            await self.add_to_tally(counts)
        except BaseException:
            self.tally.put_back(counts)
            raise

    @abstractmethod
    async def take(self, timeout: float, poll_interval: float) -> Job | None:
        """Wait for the next job."""

    async def schedule_due(self, lock: int) -> list[str]:
        """Do as SAQ's schedule."""
        return await super().schedule(lock)

    @abstractmethod
    async def sweep_up(self, lock: int, abort: float) -> list[str]:
        """Do as SAQ's sweep."""

    @abstractmethod
    async def tell_worker_info(self, worker_id: str, info: WorkerInfo, ttl: int) -> None:
        """Do as SAQ's write_worker_info."""

    @abstractmethod
    async def add_to_tally(self, counts: dict[str, dict[str, int]]) -> None:
        """Add *counts* to what the broker has counted."""

    def due_again(self, job: Job) -> int:
        """Return when *job* is to run again, in seconds since the epoch."""
        return -int(-(time.time() + self._delay_of(job)) // 1)

    async def insist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Await ``write()`` until the broker takes it: what is done must not be done again for want of it.

        Raises what it raises once the worker stops.
        """
        while True:
            began = time.monotonic()
            try:
                return await write()
            except self.away as error:
                self._missed(error, began)
                if self.stopping:
                    raise
            await asyncio.sleep(_LONGEST_PAUSE)

    async def _if_there(self, found: Awaitable[list[str]]) -> list[str]:
        """Return what was *found*; nothing where the broker is away."""
        began = time.monotonic()
        try:
            return await found
        except self.away as error:
            self._missed(error, began)
            return []

    def _missed(self, error: Exception, began: float) -> None:
        """Tell of an outage once; what *began* before the broker last answered has nothing new to tell."""
        if not self._lost and began >= self._answered:
            self._lost = True
            self._telemetry.emit(BackendLost("jobs", type(error).__name__))

    def _reached(self) -> None:
        self._answered = time.monotonic()
        self._pause = _FIRST_PAUSE
        if self._lost:
            self._lost = False
            self._telemetry.emit(BackendRestored("jobs"))
