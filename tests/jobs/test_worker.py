"""A real worker does what was enqueued, on PostgreSQL as on Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from secrets import token_hex
from typing import Any

import anyio
import pytest

from sipup_middleware import Database, Health, PoolConfig
from sipup_middleware.context import Context
from sipup_middleware.errors import JobFailed
from sipup_middleware.jobs import OpenJobs
from sipup_middleware.jobs.broker import JobState, TypeNumbers
from sipup_middleware.services import Services
from tests.jobs.asking import look, numbers, poll
from tests.jobs.servers import rows_of
from tests.jobs.shop import jobs_at
from tests.jobs.sites import Site
from tests.jobs.workers import Crew

pytestmark = pytest.mark.live

PATIENT = 20.0
"""Seconds that a job may take on a busy machine."""

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def anyio_backend() -> Any:
    """The worker is another process; the brokers' own tests enqueue from every loop."""
    return ("asyncio", {"use_uvloop": False})


@pytest.fixture(scope="module")
def crews(services: Services, jobs_database: str) -> Iterator[dict[str, Crew]]:
    """A queue on each server, with a worker that logs all it can."""
    assert services.redis_url
    with Crew.of(jobs_database, jobs_database) as one, Crew.of(services.redis_url, jobs_database) as other:
        for crew in (one, other):
            crew.start(options=("-vv",))
        yield {"postgres": one, "redis": other}


@pytest.fixture(params=["postgres", "redis"])
def crew(request: pytest.FixtureRequest, crews: dict[str, Crew]) -> Crew:
    return crews[request.param]


@pytest.fixture
def broker_url(crew: Crew) -> str:
    return crew.jobs_url


@pytest.fixture
def queue(crew: Crew) -> str:
    return crew.queue


@pytest.fixture
def word() -> str:
    return token_hex(8)


async def notes(crew: Crew, word: str) -> list[Any]:
    """What a job wrote down, in the order of its attempts."""
    return await rows_of(crew.database_url, "SELECT * FROM notes WHERE word = $1 ORDER BY id", word)


async def has_noted(crew: Crew, word: str) -> bool:
    return bool(await notes(crew, word))


async def until_idle(jobs: OpenJobs) -> None:
    """Wait until the worker has done what is asked of it now: whatever was sent before has begun, too."""
    for _ in range(3):
        await (await jobs.enqueue("add", {"a": 1})).result(timeout=PATIENT)


def database_of(crew: Crew) -> Database:
    return Database(crew.database_url, pool=PoolConfig(min=0, max=2))


async def failed(jobs: OpenJobs, name: str) -> TypeNumbers:
    """Wait until the worker has told that a job of this type has failed."""

    async def told() -> bool:
        return name in (types := (await numbers(jobs)).types) and types[name].failed > 0

    await poll(told)
    return (await numbers(jobs)).types[name]


async def test_a_job_runs_and_its_result_can_be_read(jobs: OpenJobs) -> None:
    handle = await jobs.enqueue("add", {"a": 1, "b": 2})

    assert await handle.result(timeout=PATIENT) == {"sum": 3, "attempt": 1, "meta": {}}


async def test_a_job_of_a_transaction_runs_when_that_is_committed_and_not_before(
    crew: Crew, jobs: OpenJobs, queue: str, word: str
) -> None:
    async def handle(sipup: Context) -> object:
        async with sipup.db.transaction():
            handle = await sipup.jobs.enqueue("note", {"word": word})
            await until_idle(jobs)
            early = await has_noted(crew, word)
            committing = time.time()
        await handle.result(timeout=PATIENT)
        return [early, committing]

    async with Site(handle, database_of(crew), jobs_at(crew.jobs_url, queue=queue)).up() as site:
        early, committing = (await site.get()).json()

    assert not early
    [ran] = await notes(crew, word)
    assert ran["at"].timestamp() - committing < 1


async def test_a_job_of_a_transaction_that_is_rolled_back_never_runs(
    crew: Crew, jobs: OpenJobs, queue: str, word: str
) -> None:
    async def handle(sipup: Context) -> object:
        with pytest.raises(LookupError):  # noqa: PT012 (the block is what is tested)
            async with sipup.db.transaction():
                await sipup.jobs.enqueue("note", {"word": word})
                raise LookupError
        await until_idle(jobs)
        return await has_noted(crew, word)

    async with Site(handle, database_of(crew), jobs_at(crew.jobs_url, queue=queue)).up() as site:
        assert (await site.get()).json() is False


async def test_a_job_that_always_fails_runs_four_times_with_growing_gaps_and_then_is_dead(
    crews: dict[str, Crew], word: str
) -> None:
    async with anyio.create_task_group() as tasks:
        for crew in crews.values():
            tasks.start_soon(fails, crew, f"{word} {crew.queue}")


async def fails(crew: Crew, word: str) -> None:
    secret = token_hex(16)
    async with crew.open() as jobs:
        dead_before = (await numbers(jobs)).dead

        handle = await jobs.enqueue("fail", {"word": word, "secret": secret})
        with pytest.raises(JobFailed, match="ValueError: never with"):
            await handle.result(timeout=60)

        state = await look(jobs, handle)
        assert state is not None
        assert state.status == "failed"
        assert "Traceback (most recent call last)" in (state.error or "")
        assert (await numbers(jobs)).dead == dead_before + 1
        told = await failed(jobs, "fail")
        assert (told.completed, told.retried, told.failed) == (0, 3, 1)
    attempts = await notes(crew, word)
    assert [row["attempt"] for row in attempts] == [1, 2, 3, 4]
    assert {row["job"] for row in attempts} == {handle.id}
    gaps = [after - before for before, after in pairwise(row["at"].timestamp() for row in attempts)]
    assert all(gap >= 0.75 * least for gap, least in zip(gaps, (0.2, 0.4, 0.8), strict=True))
    assert f"{handle.id}: ValueError in attempt 1, next in " in crew.workers[0].said
    assert "next in 0.0 s" not in crew.workers[0].said
    assert secret not in crew.workers[0].said


async def test_discard_ends_a_job_at_once(crew: Crew, jobs: OpenJobs) -> None:
    handle = await jobs.enqueue("refuse")

    with pytest.raises(JobFailed, match="Discard: it can never be"):
        await handle.result(timeout=PATIENT)

    told = await failed(jobs, "refuse")
    assert (told.completed, told.retried, told.failed) == (0, 0, 1)


async def test_what_retry_asks_for_is_waited_for(jobs: OpenJobs) -> None:
    began = time.monotonic()

    handle = await jobs.enqueue("patience", {"seconds": 1.2})

    assert await handle.result(timeout=PATIENT) == 2
    assert time.monotonic() - began >= 1.2


async def test_a_delayed_job_does_not_run_early(crew: Crew, jobs: OpenJobs, word: str) -> None:
    began = time.time()

    handle = await jobs.enqueue("note", {"word": word}, delay=1)
    await handle.result(timeout=PATIENT)

    [ran] = await notes(crew, word)
    assert ran["at"].timestamp() >= began + 1


async def test_a_payload_arrives_unchanged_whatever_its_keys_are(jobs: OpenJobs) -> None:
    payload = {
        **dict.fromkeys(("timeout", "priority", "status", "key", "retries", "queue", "meta", "kwargs"), 1),
        **dict.fromkeys(("function", "self", "context", "job", "scheduled", "result", "error"), "text"),
        "deep": {"list": [1, 2.5, None, True, "ü \u2028 \U0001f680"]},
    }

    handle = await jobs.enqueue("echo", payload)

    assert await handle.result(timeout=PATIENT) == payload


async def test_a_result_that_cannot_be_told_is_none_and_the_work_is_done_once(jobs: OpenJobs) -> None:
    handle = await jobs.enqueue("unspeakable")

    assert await handle.result(timeout=PATIENT) is None
    assert await look(jobs, handle) == JobState("complete")


async def test_the_request_is_known_to_its_job(crew: Crew, queue: str) -> None:
    async def handle(sipup: Context) -> object:
        result = await (await sipup.jobs.enqueue("add", {"a": 1})).result(timeout=PATIENT)
        return [sipup.request_id, result["meta"]]

    async with Site(handle, jobs_at(crew.jobs_url, queue=queue)).up() as site:
        request_id, meta = (await site.get(headers=[("traceparent", TRACEPARENT)])).json()

    assert meta == {"request_id": request_id, "traceparent": TRACEPARENT}


async def test_a_unique_key_is_free_again_when_its_job_has_ended(jobs: OpenJobs, word: str) -> None:
    for number in (1, 2):
        handle = await jobs.enqueue("add", {"a": number}, unique_key=word)

        assert handle.created is True
        assert (await handle.result(timeout=PATIENT))["sum"] == number


async def test_a_unique_key_is_free_again_when_its_job_is_dead_and_the_dead_one_counts_no_more(
    jobs: OpenJobs, word: str
) -> None:
    first = await jobs.enqueue("refuse", unique_key=word)
    with pytest.raises(JobFailed):
        await first.result(timeout=PATIENT)
    dead = (await numbers(jobs)).dead

    again = await jobs.enqueue("refuse", unique_key=word, delay=60)

    assert again.created is True
    assert (await numbers(jobs)).dead == dead - 1


async def test_a_unique_key_keeps_its_twin_out_while_its_job_runs(
    crew: Crew, jobs: OpenJobs, word: str
) -> None:
    payload = {"word": word, "until": f"{word} go"}
    first = await jobs.enqueue("linger", payload, unique_key=word)
    await poll(lambda: has_noted(crew, f"{word} began"))

    second = await jobs.enqueue("linger", payload, unique_key=word)
    active = sum(each.active for each in (await numbers(jobs)).backlogs.values())
    await rows_of(crew.database_url, "INSERT INTO notes (word) VALUES ($1)", f"{word} go")
    await first.result(timeout=PATIENT)

    assert (second.created, second.id) == (False, first.id)
    assert active >= 1
    assert len(await notes(crew, f"{word} began")) == 1


async def test_a_job_may_enqueue_in_a_transaction_of_its_own(crew: Crew, jobs: OpenJobs, word: str) -> None:
    undone = await jobs.enqueue("chain", {"word": f"{word} undone", "commit": False})
    done = await jobs.enqueue("chain", {"word": f"{word} done", "commit": True})
    never, follows = [await each.result(timeout=PATIENT) for each in (undone, done)]

    await poll(lambda: has_noted(crew, f"{word} done"))

    [ran] = await notes(crew, f"{word} done")
    assert ran["job"] == follows
    assert await look(jobs, never) is None
    assert not await has_noted(crew, f"{word} undone")


async def test_the_web_side_sees_the_worker_and_what_it_did(crew: Crew, queue: str) -> None:
    async def handle(sipup: Context) -> object:
        for _ in range(3):
            await (await sipup.jobs.enqueue("add", {"a": 1})).result(timeout=PATIENT)
        return True

    async with Site(handle, Health(), jobs_at(crew.jobs_url, queue=queue)).up() as site:
        await site.get()

        async def told() -> bool:
            by_type = (await site.health("metrics"))["jobs"]["by_type"]
            return (
                "add" in by_type and by_type["add"]["completed"] >= 3 and by_type["add"]["p95_ms"] is not None
            )

        await poll(told)
        section = (await site.health("metrics"))["jobs"]
        ready = await site.health("ready")

    assert section["workers"] == 1
    assert 0 < section["by_type"]["add"]["p95_ms"] < 5000
    assert section["by_type"]["add"]["failed"] == 0
    assert (ready["status"], ready["checks"]["jobs:workers"][0]["observedValue"]) == ("pass", 1)
