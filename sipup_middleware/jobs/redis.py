"""Redis or Valkey as the broker: SAQ's keys, and three priorities; one round trip for any number of jobs.

It must not evict: give it a server of its own, or ``maxmemory-policy noeviction``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson

from sipup_middleware.breaker import Breaker
from sipup_middleware.errors import JobsUnavailable, MissingExtra
from sipup_middleware.jobs import scripts
from sipup_middleware.jobs.broker import TIMEOUT, Backlog, JobState, Joins, Numbers, TypeNumbers
from sipup_middleware.jobs.durations import p95
from sipup_middleware.jobs.policy import PRIORITIES, NewJob, rank
from sipup_middleware.redis_pool import redis_pool

try:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError
except ImportError as missing:
    raise MissingExtra("jobs") from missing

if TYPE_CHECKING:
    from redis.asyncio import BlockingConnectionPool

__all__ = ("RedisBroker", "connect")

_AWAY = (RedisError, OSError)
T = TypeVar("T")


def connect(url: str) -> BlockingConnectionPool:
    """Return the pool of a process that enqueues; inert. Raises `ConfigurationError` for a bad URL."""
    return redis_pool(url, timeout=TIMEOUT, option="Jobs.url", extra="jobs")


class RedisBroker:
    """A queue under SAQ's keys; inert until it is used."""

    ready = True

    def __init__(self, url: str, queue: str) -> None:
        self._redis = Redis(connection_pool=connect(url))
        self._keys = keys = scripts.Keys(queue)
        self._breaker = Breaker()
        self._enqueue = self._redis.register_script(scripts.ENQUEUE)
        self._numbers = self._redis.register_script(scripts.NUMBERS)
        self._enqueue_keys = [*keys.lists, keys.bell, keys.incomplete, keys.dead]
        self._numbers_keys = [*keys.lists, keys.active, keys.stats, keys.dead, keys.tally]

    async def prepare(self) -> None:
        """Do nothing: keys come into being as they are used."""

    async def start(self) -> None:
        """Do nothing: connections are opened as they are used."""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    def joins(self, db: Joins) -> bool:  # noqa: ARG002 (the broker's signature)
        """Say no: a transaction of PostgreSQL's cannot hold what is written here."""
        return False

    async def enqueue_within(self, db: Joins, jobs: Sequence[NewJob]) -> set[str]:  # noqa: ARG002 (the broker's signature)
        """Hand *jobs* over."""
        return await self.enqueue(jobs)

    async def enqueue(self, jobs: Sequence[NewJob]) -> set[str]:
        """Hand *jobs* over, in one round trip."""
        keys = self._keys
        args: list[str | bytes | int] = []
        for each in jobs:
            args += (keys.job + each.key, keys.abort + each.key, each.document, each.rank, each.due)
        made: list[int] | None = await self._ask(lambda: self._enqueue(keys=self._enqueue_keys, args=args))
        return {jobs[index].key for index in made or ()}

    async def ping(self) -> None:
        """Make a round trip."""
        await self._ask(self._redis.ping)

    async def look(self, key: str) -> JobState | None:
        """Read one key."""
        told = await self._ask(lambda: self._redis.get(self._keys.job + key))
        if told is None:
            return None
        job = orjson.loads(told)
        return JobState(job.get("status", "new"), job.get("result"), job.get("error"))

    async def numbers(self) -> Numbers:
        """Count, in one round trip; the breaker does not keep it from asking."""
        now = time.time()
        args = [int(now * 1000), int(now)]
        told: list[Any] = await self._ask(
            lambda: self._numbers(keys=self._numbers_keys, args=args), anyway=True
        )
        waiting, active, alive, dead, tally = told
        backlogs = {name: Backlog(queued=waiting[2 * i]) for i, name in enumerate(PRIORITIES)}
        for i, backlog in enumerate(backlogs.values()):
            if first := waiting[2 * i + 1]:
                job = orjson.loads(first)
                due = job.get("scheduled") or job.get("queued", 0) / 1000
                backlog.oldest = max(0.0, now - due)
        for job in (orjson.loads(each) for each in active if each):
            backlogs[rank(job.get("priority", 0))].active += 1
        infos = [orjson.loads(each).get("metadata") or {} for each in alive if each]
        return Numbers(backlogs, len(infos), dead, _types(tally, infos))

    async def _ask(self, ask: Callable[[], Awaitable[T] | Any], *, anyway: bool = False) -> T:
        if not anyway and not self._breaker.admits():
            raise JobsUnavailable("the job queue's server did not answer lately")
        try:
            async with asyncio.timeout(TIMEOUT):
                told = await ask()
        except _AWAY as error:
            self._breaker.fail()
            raise JobsUnavailable(
                f"the job queue's server does not answer ({type(error).__name__})"
            ) from None
        self._breaker.succeed()
        return cast("T", told)


def _types(tally: Sequence[bytes], infos: Sequence[dict[str, Any]]) -> dict[str, TypeNumbers]:
    types: dict[str, TypeNumbers] = {}
    for field, count in zip(tally[::2], tally[1::2], strict=True):
        name, _, outcome = field.decode().rpartition(":")
        setattr(types.setdefault(name, TypeNumbers()), outcome, int(count))
    for name, numbers in types.items():
        numbers.p95 = p95(each.get("durations", {}).get(name, {}) for each in infos)
    return types
