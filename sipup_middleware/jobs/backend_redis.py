"""SAQ's queue on Redis or Valkey, with three priorities."""

# ruff: noqa: ANN401, ASYNC109 (SAQ's signatures)
# ruff: noqa: SLF001 (SAQ's seams are what we override, and call)

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from sipup_middleware.errors import MissingExtra
from sipup_middleware.jobs import scripts
from sipup_middleware.jobs.backend import Ours, Status
from sipup_middleware.redis_pool import redis_pool

try:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError
    from saq.queue.redis import RedisQueue
except ImportError as missing:
    raise MissingExtra("jobs") from missing

if TYPE_CHECKING:
    from saq.job import Job
    from saq.types import CountKind, WorkerInfo

__all__ = ("RedisJobs",)

_NAP = 1.0
"""Seconds that one waiter listens for the bell before it looks by itself: a token may have been lost."""

_TIMEOUT = 5.0


class RedisJobs(Ours, RedisQueue):
    """A worker's side of `RedisBroker`."""

    away = (RedisError, OSError)

    def __init__(self, url: str, name: str, *, connections: int) -> None:
        pool = redis_pool(url, timeout=_TIMEOUT, option="Jobs.url", extra="jobs", connections=connections)
        super().__init__(Redis(connection_pool=pool), name=name, max_concurrent_ops=connections)
        self._keys = keys = scripts.Keys(name)
        self._listening = asyncio.Lock()
        self._unmarked: set[tuple[str, int, int]] = set()
        """What the last sweep found fetched and not marked active: still so at the next, it was left."""
        self._pop = self.redis.register_script(scripts.DEQUEUE)
        self._push_due = self.redis.register_script(scripts.SCHEDULE)
        self._pop_keys = [*keys.lists, keys.bell, keys.active]
        self._push_keys = [*keys.lists, keys.bell, keys.incomplete, keys.lock]

    async def disconnect(self) -> None:
        """Close the connections."""
        with suppress(*self.away):  # SAQ says goodbye over the wire
            await super().disconnect()

    async def take(self, timeout: float, poll_interval: float) -> Job | None:  # noqa: ARG002 (SAQ's signature)
        """Take the most urgent job, or wait for the bell with one connection for all who wait."""
        deadline = time.monotonic() + timeout if timeout else float("inf")
        while not self.stopping and time.monotonic() < deadline:
            if (found := await self._pop(keys=self._pop_keys)) is not None:
                return await self._get_job_by_id(found)
            async with self._listening:
                if not self.stopping:
                    await cast("Awaitable[object]", self.redis.blpop([self._keys.bell], timeout=_NAP))
        return None

    async def schedule_due(self, lock: int) -> list[str]:
        """Put what is due into the list of its priority."""
        pushed = await self._push_due(keys=self._push_keys, args=[lock, time.time()])
        return [each.decode() for each in pushed or ()]

    async def count(self, kind: CountKind) -> int:
        """Count all three lists."""
        if kind != "queued":
            return await super().count(kind)
        async with self.redis.pipeline(transaction=False) as pipe:
            for each in self._keys.lists:
                pipe.llen(each)
            return sum(await pipe.execute())

    async def sweep_up(self, lock: int, abort: float) -> list[str]:
        """Put back what is stuck, and forget whom nobody can ask about any more.

        SAQ's own sweep takes a job that was just fetched, and is not marked active yet, for a stuck one.
        """
        if not await self.redis.set(self._keys.sweep, 1, ex=lock, nx=True):
            return []
        await self.redis.zremrangebyscore(self._keys.dead, "-inf", time.time())
        ids = await cast("Awaitable[list[bytes]]", self.redis.lrange(self._keys.active, 0, -1))
        unmarked, self._unmarked = self._unmarked, set()
        swept = []
        for each in ids:
            job = await self._get_job_by_id(each)
            if job is None:
                await cast("Awaitable[int]", self.redis.lrem(self._keys.active, 0, each.decode()))
                await self.redis.zrem(self._keys.incomplete, each)
                continue
            fetched = job.key, job.queued, job.touched  # another fetch of this job is not the same
            begun = job.status == Status.ACTIVE
            if job.stuck or (not begun and fetched in unmarked):
                await self._put_back(job, abort)
                swept.append(job.key)
            elif not begun:
                self._unmarked.add(fetched)
        return swept

    async def _put_back(self, job: Job, patience: float) -> None:
        """Have its worker drop *job*, if there is one, and let it be run again."""
        await self.abort(job, error=self.swept_error_message)
        with suppress(asyncio.TimeoutError):
            await job.refresh(patience)
        if job.retryable:
            await self.retry(job, error=self.swept_error_message)
        else:
            await self.finish(job, Status.FAILED, error=self.swept_error_message)

    async def tell_worker_info(self, worker_id: str, info: WorkerInfo, ttl: int) -> None:
        """Write one key."""
        await RedisQueue.write_worker_info(self, worker_id, info, ttl)

    async def add_to_tally(self, counts: dict[str, dict[str, int]]) -> None:
        """Write a hash."""
        async with self.redis.pipeline(transaction=True) as pipe:
            for name, outcomes in counts.items():
                for outcome, count in outcomes.items():
                    if count:
                        pipe.hincrby(self._keys.tally, f"{name}:{outcome}", count)
            await pipe.execute()

    async def _update(self, job: Job, status: Status | None = None, **more: Any) -> None:
        await self.insist(lambda: RedisQueue._update(self, job, status, **more))

    async def _retry(self, job: Job, error: str | None) -> None:  # noqa: ARG002 (SAQ's signature)
        job.scheduled = self.due_again(job)
        await self.insist(lambda: self._schedule_again(job))

    async def _schedule_again(self, job: Job) -> None:
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.lrem(self._keys.active, 1, job.id)
            pipe.zadd(self._keys.incomplete, {job.id: job.scheduled})
            pipe.set(job.id, self.serialize(job))
            await pipe.execute()
        await self.notify(job)

    async def _finish(
        self, job: Job, status: Status, *, result: object = None, error: str | None = None
    ) -> None:
        async def write() -> None:
            await RedisQueue._finish(self, job, status, result=result, error=error)
            if status == Status.FAILED:
                await self.redis.zadd(self._keys.dead, {job.id: time.time() + job.ttl})

        await self.insist(write)
