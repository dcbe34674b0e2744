"""PostgreSQL as the broker: SAQ's tables, written through the request's own connection where there is one.

One statement enqueues any number of jobs and tells the workers. In a transaction they are seen when it is
committed, and the NOTIFY is sent then; rolled back, they were never there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from sipup_middleware.errors import ConfigurationError, JobsUnavailable, MissingExtra
from sipup_middleware.jobs.broker import TIMEOUT, Backlog, JobState, Joins, Numbers, TypeNumbers
from sipup_middleware.jobs.durations import p95
from sipup_middleware.jobs.policy import PRIORITIES, NewJob, rank
from sipup_middleware.jobs.schema import SCHEMA, VERSION
from sipup_middleware.urls import database_of

try:
    import asyncpg
except ImportError as missing:
    raise MissingExtra("jobs-postgres") from missing

if TYPE_CHECKING:
    from asyncpg import Connection, Pool, Record

__all__ = ("PostgresBroker", "migrate")

_LOCK = 0x5160_0001
"""What two that migrate at once both lock."""

_CONNECTIONS = 4
"""Sockets that a process opens of its own; none where jobs go through the request's database."""

_AWAY = (
    OSError,  # a TimeoutError is one
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
)

_ENQUEUE = """
WITH made AS (
    INSERT INTO sipup.saq_jobs AS old (key, job, queue, status, priority, scheduled)
    SELECT key, job, $5::text, 'queued', priority,
           CASE WHEN due > 0 THEN due ELSE floor(extract(epoch FROM now()))::bigint END
    FROM unnest($1::text[], $2::bytea[], $3::smallint[], $4::bigint[]) AS new (key, job, priority, due)
    ON CONFLICT (key) DO UPDATE
    SET job = excluded.job, queue = excluded.queue, status = 'queued', priority = excluded.priority,
        scheduled = excluded.scheduled, expire_at = NULL
    WHERE old.status IN ('aborted', 'complete', 'failed')
    RETURNING key
), told AS (
    SELECT pg_notify('saq:' || $5::text, 'saq:enqueue') FROM (SELECT FROM made LIMIT 1) AS once
)
SELECT key FROM made, told
"""
_LOOK = "SELECT status, job FROM sipup.saq_jobs WHERE key = $1"
_BACKLOGS = """
SELECT priority, count(*) FILTER (WHERE status = 'queued') AS queued,
       count(*) FILTER (WHERE status = 'active') AS active,
       extract(epoch FROM now())::float8 - min(scheduled) FILTER (WHERE status = 'queued') AS oldest
FROM sipup.saq_jobs
WHERE queue = $1 AND (status = 'active' OR status = 'queued' AND scheduled <= extract(epoch FROM now()))
GROUP BY priority
"""
_DEAD = "SELECT count(*) FROM sipup.saq_jobs WHERE queue = $1 AND status = 'failed'"
_WORKERS = """
SELECT metadata FROM sipup.saq_stats WHERE queue_key = $1 AND expire_at >= extract(epoch FROM now())
"""
_TALLY = "SELECT type, completed, retried, failed FROM sipup.job_tally WHERE queue = $1"


class PostgresBroker:
    """A queue in the schema ``sipup``; inert until it is used."""

    def __init__(self, url: str, queue: str) -> None:
        self._url = url
        self._queue = queue
        self._database = database_of(url)
        self._pool: Pool[Record] | None = None
        self._turn = asyncio.Lock()
        self.ready = False

    async def start(self) -> None:
        """Make the tables, if the server is there and they are not."""
        with suppress(JobsUnavailable):
            await self.prepare()

    async def aclose(self) -> None:
        """Close the connections of its own."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    def joins(self, db: Joins) -> bool:
        """Say whether *db* is the queue's database."""
        return db.database == self._database

    async def enqueue_within(self, db: Joins, jobs: Sequence[NewJob]) -> set[str]:
        """Write *jobs* in the transaction of *db*'s task, or by a statement of its own."""
        return {row["key"] for row in await db.fetch(_ENQUEUE, *self._arguments(jobs))}

    async def enqueue(self, jobs: Sequence[NewJob]) -> set[str]:
        """Write *jobs* on a connection of its own."""
        return {row["key"] for row in await self._fetch(_ENQUEUE, *self._arguments(jobs))}

    async def ping(self) -> None:
        """Make a round trip."""
        await self._fetch("SELECT 1")

    async def look(self, key: str) -> JobState | None:
        """Read one row."""
        rows = await self._fetch(_LOOK, key)
        if not rows:
            return None
        job = orjson.loads(rows[0]["job"])
        return JobState(rows[0]["status"], job.get("result"), job.get("error"))

    async def numbers(self) -> Numbers:
        """Count, on a connection of its own: a pool that is exhausted must not hide the queue."""
        numbers = Numbers({name: Backlog() for name in PRIORITIES})
        for row in await self._fetch(_BACKLOGS, self._queue):
            backlog = numbers.backlogs[rank(row["priority"])]
            backlog.queued += row["queued"]
            backlog.active += row["active"]
            backlog.oldest = max(backlog.oldest, row["oldest"] or 0.0)
        numbers.dead = (await self._fetch(_DEAD, self._queue))[0][0]
        alive = [orjson.loads(row["metadata"] or "{}") for row in await self._fetch(_WORKERS, self._queue)]
        numbers.workers = len(alive)
        for row in await self._fetch(_TALLY, self._queue):
            took = p95(each.get("durations", {}).get(row["type"], {}) for each in alive)
            numbers.types[row["type"]] = TypeNumbers(row["completed"], row["retried"], row["failed"], took)
        return numbers

    def _arguments(self, jobs: Sequence[NewJob]) -> tuple[list[str], list[bytes], list[int], list[int], str]:
        return (
            [each.key for each in jobs],
            [each.document for each in jobs],
            [each.rank for each in jobs],
            [each.due for each in jobs],
            self._queue,
        )

    async def prepare(self) -> None:
        """Make the tables, unless that is done. Raises `JobsUnavailable`."""
        async with self._turn:
            if self.ready:
                return
            try:
                await migrate(self._url)
            except _AWAY as error:
                raise _unavailable(error) from None
            except asyncpg.InsufficientPrivilegeError:
                raise ConfigurationError(
                    "the role in Jobs.url may not make, or not use, the tables in the schema sipup"
                ) from None
            self.ready = True

    async def _fetch(self, sql: str, *args: object) -> list[Any]:
        try:
            pool = await self._open()
            async with pool.acquire(timeout=TIMEOUT) as connection:
                return await connection.fetch(sql, *args)
        except _AWAY as error:
            raise _unavailable(error) from None

    async def _open(self) -> Pool[Record]:
        if not self.ready:
            await self.prepare()
        async with self._turn:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url, min_size=0, max_size=_CONNECTIONS, timeout=TIMEOUT, command_timeout=TIMEOUT
                )
            return self._pool


async def migrate(url: str) -> None:
    """Make or renew the tables; any number of processes may at once. Raises what asyncpg raises."""
    connection = await asyncpg.connect(url, timeout=TIMEOUT)
    try:
        if await _version(connection) >= VERSION:
            return
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(
                """
                CREATE SCHEMA IF NOT EXISTS sipup;
                CREATE TABLE IF NOT EXISTS sipup.versions (part text PRIMARY KEY, version integer NOT NULL);
                """
            )
            if await _version(connection) < VERSION:
                await connection.execute(SCHEMA)
                await connection.execute("INSERT INTO sipup.versions VALUES ('jobs', $1)", VERSION)
    finally:
        await connection.close(timeout=TIMEOUT)


async def _version(connection: Connection[Record]) -> int:
    if await connection.fetchval("SELECT to_regclass('sipup.versions')") is None:
        return 0
    version = await connection.fetchval("SELECT version FROM sipup.versions WHERE part = 'jobs'")
    return int(version or 0)


def _unavailable(error: Exception) -> JobsUnavailable:
    return JobsUnavailable(f"the job queue's PostgreSQL cannot be reached ({type(error).__name__})")
