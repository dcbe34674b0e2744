"""SAQ's queue on PostgreSQL, in the schema ``sipup``."""

# ruff: noqa: ANN401, ASYNC109 (SAQ's signatures)
# ruff: noqa: SLF001 (SAQ's seams are what we override, and call)

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sipup_middleware.errors import MissingExtra
from sipup_middleware.jobs.backend import Ours, Status
from sipup_middleware.jobs.postgres import migrate

try:
    import asyncpg
    from psycopg import OperationalError
    from psycopg.sql import Identifier
    from psycopg_pool import AsyncConnectionPool
    from saq.queue.postgres import DEQUEUE, PostgresQueue
except ImportError as missing:
    raise MissingExtra("jobs-postgres") from missing

if TYPE_CHECKING:
    from saq.job import Job
    from saq.types import WorkerInfo

__all__ = ("PostgresJobs",)

_PATIENCE = 3.0
"""Seconds to wait for a connection; after them the server counts as away."""

_TALLY = """
INSERT INTO sipup.job_tally AS old (queue, type, completed, retried, failed) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (queue, type) DO UPDATE
SET completed = old.completed + excluded.completed, retried = old.retried + excluded.retried,
    failed = old.failed + excluded.failed
"""


class PostgresJobs(Ours, PostgresQueue):
    """A worker's side of `PostgresBroker`."""

    away = (OperationalError, OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)

    def __init__(self, url: str, name: str, *, connections: int) -> None:
        pool = AsyncConnectionPool(
            url, check=AsyncConnectionPool.check_connection, open=False, timeout=_PATIENCE, name="sipup-jobs"
        )
        super().__init__(pool, name=name, min_size=1, max_size=connections, manage_pool_lifecycle=True)
        self._url = url
        self._sweeper: asyncio.Task[Any] | None = None
        self.jobs_table = Identifier("sipup", "saq_jobs")
        self.stats_table = Identifier("sipup", "saq_stats")

    async def init_db(self) -> None:
        """Make the tables by our own migration: SAQ's fails where two workers start at once."""
        await migrate(self._url)

    async def take(self, timeout: float, poll_interval: float) -> Job | None:
        """Wait for a NOTIFY."""
        return await PostgresQueue.dequeue(self, timeout, poll_interval)

    def stop(self) -> None:
        """Wake those who wait, with nothing for them."""
        super().stop()
        for _ in range(self._waiting):
            self._job_queue.put_nowait(None)
        self._listener.publish(DEQUEUE, DEQUEUE)

    async def disconnect(self) -> None:
        """Give back what was fetched and not begun."""
        with suppress(*self.away):  # then the sweep of another worker does
            while self._connected and not self._job_queue.empty():
                job = self._job_queue.get_nowait()
                if job is not None:
                    await self.update(job, status=Status.QUEUED)
        await super().disconnect()

    async def sweep_up(self, lock: int, abort: float) -> list[str]:
        """Delete what has expired, and put back what is stuck."""
        self._sweeper = asyncio.current_task()
        return await PostgresQueue.sweep(self, lock, abort)

    async def finish(
        self,
        job: Job,
        status: Status,
        *,
        result: object = None,
        error: str | None = None,
        **more: Any,
    ) -> None:
        """Let a stuck job without attempts left be dead: SAQ's sweep has it aborted, and soon forgotten."""
        if status == Status.ABORTED and asyncio.current_task() is self._sweeper:
            status = Status.FAILED
        await super().finish(job, status, result=result, error=error, **more)

    async def tell_worker_info(self, worker_id: str, info: WorkerInfo, ttl: int) -> None:
        """Write one row."""
        await PostgresQueue.write_worker_info(self, worker_id, info, ttl)

    async def add_to_tally(self, counts: dict[str, dict[str, int]]) -> None:
        """Write a row a type."""
        async with self.pool.connection() as connection, connection.transaction():
            for name, outcomes in sorted(counts.items()):  # in one order, lest two workers lock crosswise
                row = (self.name, name, outcomes["completed"], outcomes["retried"], outcomes["failed"])
                await connection.execute(_TALLY, row)

    async def _update(self, job: Job, status: Status | None = None, **more: Any) -> None:
        await self.insist(lambda: PostgresQueue._update(self, job, status, **more))

    async def _finish(
        self, job: Job, status: Status, *, result: object = None, error: str | None = None, **more: Any
    ) -> None:
        await self.insist(
            lambda: PostgresQueue._finish(self, job, status, result=result, error=error, **more)
        )

    async def _retry(self, job: Job, error: str | None) -> None:  # noqa: ARG002 (SAQ's signature)
        await self.update(job, status=Status.QUEUED, scheduled=self.due_again(job), expire_at=None)
