"""Workers start, stop, are killed, and outlive their servers; on PostgreSQL as on Redis."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from secrets import token_hex
from typing import Any

import anyio
import pytest

from sipup_middleware.errors import JobFailed
from sipup_middleware.jobs import Job, JobHandle, OpenJobs
from sipup_middleware.services import Services
from tests.jobs.asking import look, numbers, poll
from tests.jobs.servers import new_database, rows_of
from tests.jobs.workers import Crew, Worker

pytestmark = pytest.mark.live

PATIENT = 20.0
"""Seconds that a job may take on a busy machine."""

LOST = "jobs: its server does not answer"
RESTORED = "jobs: its server answers again"


@pytest.fixture
def anyio_backend() -> Any:
    """The worker is another process; the brokers' own tests enqueue from every loop."""
    return ("asyncio", {"use_uvloop": False})


@pytest.fixture
def crew(broker_url: str, jobs_database: str, queue: str) -> Iterator[Crew]:
    with Crew.of(broker_url, jobs_database, queue) as crew:
        yield crew


@pytest.fixture
def own_database(own_services: Services) -> Iterator[str]:
    assert own_services.database_url
    with new_database(own_services.database_url) as url:
        yield url


@contextmanager
def crews_of(services: Services, database_url: str) -> Iterator[list[Crew]]:
    """A crew on each server, to wait for both at once."""
    assert services.redis_url
    with ExitStack() as stack:
        yield [stack.enter_context(Crew.of(url, database_url)) for url in (database_url, services.redis_url)]


async def at_work(jobs: OpenJobs, count: int) -> None:
    """Wait until so many workers have given a sign of life."""

    async def there() -> bool:
        return (await numbers(jobs)).workers == count

    await poll(there)


async def write(crew: Crew, word: str) -> None:
    await rows_of(crew.database_url, "INSERT INTO notes (word) VALUES ($1)", word)


async def words(crew: Crew, start: str) -> list[str]:
    """What was noted that begins with *start*, in that order."""
    found = await rows_of(
        crew.database_url, "SELECT word FROM notes WHERE starts_with(word, $1) ORDER BY id", start
    )
    return [row["word"] for row in found]


async def noted(crew: Crew, word: str) -> None:
    async def there() -> bool:
        return word in await words(crew, word)

    await poll(there)


async def end_of(worker: Worker, *, within: float) -> int:
    return await anyio.to_thread.run_sync(lambda: worker.ended(within=within))


async def test_a_late_job_of_high_priority_starts_before_those_of_low(crew: Crew, jobs: OpenJobs) -> None:
    crew.start(concurrency=1)
    word = token_hex(8)
    await jobs.enqueue("linger", {"word": f"{word} first", "until": f"go {word}"})
    await noted(crew, f"{word} first began")

    await jobs.enqueue_many([Job("note", {"word": f"{word} {n}"}, priority="low") for n in range(5)])
    await jobs.enqueue("note", {"word": f"{word} normal"})
    await jobs.enqueue("note", {"word": f"{word} high"}, priority="high")
    await write(crew, f"go {word}")
    await noted(crew, f"{word} 4")

    ran = await words(crew, word)
    assert ran[:4] == [f"{word} first began", f"{word} first ended", f"{word} high", f"{word} normal"]
    assert sorted(ran[4:]) == [f"{word} {n}" for n in range(5)]


async def test_a_timeout_frees_the_place_of_its_job(crew: Crew, jobs: OpenJobs) -> None:
    crew.start(concurrency=1)
    too_slow, next_in_line = await jobs.enqueue_many([Job("sleep"), Job("add", {"a": 1})])

    assert (await next_in_line.result(timeout=PATIENT))["sum"] == 1
    with pytest.raises(JobFailed, match="TimeoutError"):
        await too_slow.result(timeout=PATIENT)


async def test_an_idle_worker_ends_at_once_when_it_is_told_to(crew: Crew, jobs: OpenJobs) -> None:
    worker = crew.start(grace=30)
    await at_work(jobs, 1)

    worker.stop()

    assert await end_of(worker, within=3) == 0
    assert "Traceback" not in worker.said


async def test_a_job_that_runs_gets_the_grace_to_end_and_none_is_begun(crew: Crew, jobs: OpenJobs) -> None:
    worker = crew.start(grace=30)
    word = token_hex(8)
    running = await jobs.enqueue("linger", {"word": word, "until": f"go {word}"})
    await noted(crew, f"{word} began")

    worker.stop()
    await anyio.sleep(0.5)  # it has heard
    waiting = await jobs.enqueue("note", {"word": f"{word} late"})
    await write(crew, f"go {word}")

    assert await end_of(worker, within=10) == 0
    assert await words(crew, word) == [f"{word} began", f"{word} ended"]
    assert await states(jobs, running.id, waiting.id) == ["complete", "queued"]
    assert (await numbers(jobs)).types["linger"].completed == 1, "the last counts are written, too"


async def states(jobs: OpenJobs, *ids: str) -> list[str]:
    found = [await look(jobs, each) for each in ids]
    return [each.status if each else "unknown" for each in found]


async def test_a_job_that_outlasts_the_grace_runs_again_and_has_used_no_attempt_up(
    crew: Crew, jobs: OpenJobs
) -> None:
    worker = crew.start(grace=1)
    word = token_hex(8)
    handle = await jobs.enqueue("linger", {"word": word, "until": f"go {word}"})
    await noted(crew, f"{word} began")

    worker.stop()
    assert await end_of(worker, within=10) == 0
    crew.start()
    await write(crew, f"go {word}")
    await handle.result(timeout=PATIENT)

    attempts = await rows_of(
        crew.database_url, "SELECT attempt FROM notes WHERE job = $1 ORDER BY id", handle.id
    )
    assert [row["attempt"] for row in attempts] == [1, 1, 1]


async def test_three_workers_that_start_at_once_make_their_tables(empty_database: str) -> None:
    with Crew.of(empty_database, empty_database) as crew:
        workers = [crew.start() for _ in range(3)]
        async with crew.open() as jobs:
            await at_work(jobs, 3)
            await (await jobs.enqueue("add", {"a": 1})).result(timeout=PATIENT)

        assert [worker.said for worker in workers] == [""] * 3


async def abandoned(crew: Crew, jobs: OpenJobs, job: Job) -> JobHandle:
    """Have a worker be killed by *job*, and another take its place."""
    worker = crew.start()
    [handle] = await jobs.enqueue_many([job])
    assert await end_of(worker, within=PATIENT) == -signal.SIGKILL
    crew.start()
    return handle


async def test_a_job_whose_worker_was_killed_runs_again_elsewhere_and_is_dead_after_its_last_attempt(
    services: Services, jobs_database: str
) -> None:
    word = token_hex(8)

    async def again(crew: Crew) -> None:
        async with crew.open() as jobs:
            handle = await abandoned(crew, jobs, Job("die", {"word": f"{word} {crew.queue}"}))
            await handle.result(timeout=60)

            assert (await numbers(jobs)).dead == 0
        attempts = await rows_of(
            crew.database_url, "SELECT attempt FROM notes WHERE job = $1 ORDER BY id", handle.id
        )
        assert [row["attempt"] for row in attempts] == [1, 2]

    async def never(crew: Crew) -> None:
        async with crew.open() as jobs:
            handle = await abandoned(crew, jobs, Job("die.last"))
            with pytest.raises(JobFailed, match="swept"):
                await handle.result(timeout=60)

            assert await states(jobs, handle.id) == ["failed"]
            assert (await numbers(jobs)).dead == 1

    with crews_of(services, jobs_database) as some, crews_of(services, jobs_database) as others:
        async with anyio.create_task_group() as tasks:
            for crew in some:
                tasks.start_soon(again, crew)
            for crew in others:
                tasks.start_soon(never, crew)


async def test_an_idle_worker_outlives_its_server_and_tells_each_transition_once(
    own_services: Services, own_database: str
) -> None:
    assert own_services.postgres
    assert own_services.valkey
    servers = (own_services.postgres, own_services.valkey)

    async def said(what: str) -> None:
        async def there() -> bool:
            return all(what in crew.workers[0].said for crew in crews)

        await poll(there)

    with crews_of(own_services, own_database) as crews:
        for crew in crews:
            crew.start()
            async with crew.open() as jobs:
                await at_work(jobs, 1)

        for server in servers:
            await anyio.to_thread.run_sync(server.stop)
        await said(LOST)
        await anyio.sleep(2)  # whatever would spin does so now
        for server in servers:
            await anyio.to_thread.run_sync(server.start)
        await said(RESTORED)

        for crew in crews:
            async with crew.open() as jobs:
                assert (await (await jobs.enqueue("add", {"a": 1})).result(timeout=PATIENT))["sum"] == 1
            log = crew.workers[0].said
            assert (log.count(LOST), log.count(RESTORED)) == (1, 1), log
            assert "Traceback" not in log, log
            assert log.count("\n") < 40, log
