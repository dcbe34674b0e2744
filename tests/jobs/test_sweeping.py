"""A job that its worker left behind is found, and one that is being worked on is let be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sipup_middleware.jobs import OpenJobs
from sipup_middleware.jobs.backend import QuietJob, Status
from sipup_middleware.jobs.backend_redis import RedisJobs
from sipup_middleware.telemetry import Telemetry
from tests.jobs.asking import look, numbers, queued
from tests.jobs.shop import jobs_at

pytestmark = pytest.mark.live


@pytest.fixture
def anyio_backend() -> Any:
    """A worker runs on asyncio."""
    return ("asyncio", {"use_uvloop": False})


@pytest.fixture
async def jobs(anyio_backend: Any, redis_url: str, queue: str) -> AsyncIterator[OpenJobs]:
    async with jobs_at(redis_url, queue=queue).open() as opened:
        yield opened


@pytest.fixture
async def ours(redis_url: str, queue: str) -> AsyncIterator[RedisJobs]:
    """A worker's side of the queue, without its worker."""
    ours = RedisJobs(redis_url, queue, connections=4)
    ours.prepare(Telemetry(), lambda _: 0.0)
    yield ours
    await ours.disconnect()


async def fetched(jobs: OpenJobs, ours: RedisJobs) -> QuietJob:
    """Enqueue a job and fetch it, as a worker does before it begins."""
    await jobs.enqueue("add", {"a": 1})
    job = await ours.dequeue(timeout=5)
    assert isinstance(job, QuietJob)
    return job


async def sweep(ours: RedisJobs) -> list[str]:
    """Sweep now, whoever else just did."""
    await ours.redis.delete(ours._keys.sweep)
    return await ours.sweep(1, 0.01)


async def test_a_job_that_was_fetched_and_never_begun_is_put_back_at_the_second_sweep(
    jobs: OpenJobs, ours: RedisJobs
) -> None:
    job = await fetched(jobs, ours)

    swept = [await sweep(ours), await sweep(ours)]
    await ours.schedule()

    assert swept == [[], [job.key]]
    state = await look(jobs, job.key)
    assert state is not None
    assert state.status == "queued"
    assert sum(each.active for each in (await numbers(jobs)).backlogs.values()) == 0


async def test_a_job_that_was_begun_between_two_sweeps_is_let_be(jobs: OpenJobs, ours: RedisJobs) -> None:
    job = await fetched(jobs, ours)

    await sweep(ours)
    job.started = job.queued
    await job.update(status=Status.ACTIVE)

    assert [await sweep(ours), await sweep(ours)] == [[], []]


async def test_a_job_that_was_fetched_twice_between_two_sweeps_is_let_be(
    jobs: OpenJobs, ours: RedisJobs
) -> None:
    job = await fetched(jobs, ours)

    await sweep(ours)
    await job.retry("of its first attempt")
    await ours.redis.zadd(ours._keys.incomplete, {job.id: 1})
    await ours.schedule()
    assert await ours.dequeue(timeout=5) == job

    assert [await sweep(ours), await sweep(ours)] == [[], [job.key]]


async def test_a_second_sweep_within_the_time_of_the_first_does_nothing(
    jobs: OpenJobs, ours: RedisJobs
) -> None:
    await fetched(jobs, ours)

    assert [await ours.sweep(60, 0.01) for _ in range(3)] == [[], [], []]


async def test_a_job_that_is_no_more_is_forgotten(jobs: OpenJobs, ours: RedisJobs) -> None:
    job = await fetched(jobs, ours)
    await ours.redis.delete(job.id)

    assert await sweep(ours) == []

    assert await ours.count("active") == await ours.count("incomplete") == 0
    assert await queued(jobs) == 0


async def test_a_dead_job_is_forgotten_when_its_time_is_over(jobs: OpenJobs, ours: RedisJobs) -> None:
    job = await fetched(jobs, ours)
    job.started = job.queued
    await job.finish(Status.FAILED, error="for good")
    dead = (await numbers(jobs)).dead

    await ours.redis.zadd(ours._keys.dead, {job.id: 1})
    await sweep(ours)

    assert (dead, (await numbers(jobs)).dead) == (1, 0)
