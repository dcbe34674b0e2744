"""What every broker promises to whoever enqueues, whatever server it is."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import anyio
import pytest
import redis

from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs import Job, OpenJobs
from sipup_middleware.jobs.broker import JobState
from sipup_middleware.jobs.policy import PRIORITIES
from tests.jobs.asking import look, numbers, queued
from tests.jobs.doubles import Counting
from tests.jobs.servers import rows_of
from tests.jobs.shop import jobs_at

pytestmark = pytest.mark.live
THOUSAND = [Job("add", {"a": number}) for number in range(1000)]


async def test_a_job_that_is_enqueued_waits_for_a_worker(jobs: OpenJobs) -> None:
    handle = await jobs.enqueue("add", {"a": 1})

    assert handle.created is True
    assert await look(jobs, handle) == JobState("queued")
    assert await queued(jobs) == 1


async def test_a_job_that_nobody_enqueued_is_not_known(jobs: OpenJobs) -> None:
    assert await look(jobs, "unheard-of") is None


async def test_many_jobs_are_all_there_in_the_order_given(jobs: OpenJobs) -> None:
    handles = await jobs.enqueue_many(THOUSAND)

    assert len({handle.id for handle in handles}) == 1000
    assert all(handle.created for handle in handles)
    assert await queued(jobs) == 1000


async def test_no_jobs_are_no_work(jobs: OpenJobs) -> None:
    assert await jobs.enqueue_many([]) == []
    assert await queued(jobs) == 0


async def test_many_jobs_are_one_statement_of_the_database(
    anyio_backend: Any, jobs_database: str, queue: str
) -> None:
    async with (
        jobs_at(jobs_database, queue=queue).open() as jobs,
        Database(jobs_database, pool=PoolConfig(min=0, max=1)).open() as db,
    ):
        counting = Counting(db)

        await jobs.enqueue_many(THOUSAND, within=cast("Facade", counting))

        assert counting.statements == 1
        assert await queued(jobs) == 1000


async def test_many_jobs_are_one_round_trip_to_redis(anyio_backend: Any, redis_url: str, queue: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        async with jobs_at(redis_url, queue=queue).open() as jobs:
            await jobs.enqueue("add", {"a": 1})  # the script is there from now on
            client.config_resetstat()

            await jobs.enqueue_many(THOUSAND)

            stats = cast("dict[str, Any]", client.info("commandstats"))
        asked = {
            name: stats[name]["calls"] for name in stats if name.startswith(("cmdstat_ev", "cmdstat_script"))
        }

    assert asked == {"cmdstat_evalsha": 1}


async def test_a_unique_key_is_enqueued_once_while_its_job_waits(jobs: OpenJobs) -> None:
    first = await jobs.enqueue("add", {"a": 1}, unique_key="invoice-7")
    second = await jobs.enqueue("add", {"a": 2}, unique_key="invoice-7")

    assert (first.created, second.created) == (True, False)
    assert first.id == second.id
    assert await queued(jobs) == 1


async def test_a_unique_key_keeps_out_a_job_that_is_not_due_yet(jobs: OpenJobs) -> None:
    first = await jobs.enqueue("add", {"a": 1}, unique_key="invoice-7", delay=60)
    second = await jobs.enqueue("add", {"a": 2}, unique_key="invoice-7")

    assert (first.created, second.created) == (True, False)
    assert await queued(jobs) == 0


async def test_another_task_may_use_the_same_unique_key(jobs: OpenJobs) -> None:
    first = await jobs.enqueue("add", {"a": 1}, unique_key="invoice-7")
    second = await jobs.enqueue("echo", {"a": 2}, unique_key="invoice-7")

    assert (first.created, second.created) == (True, True)
    assert await queued(jobs) == 2


async def test_of_twins_in_one_batch_the_first_counts(jobs: OpenJobs) -> None:
    handles = await jobs.enqueue_many(
        [
            Job("echo", {"a": 1}, unique_key="twin", priority="high"),
            Job("echo", {"a": 2}),
            Job("echo", {"a": 3}, unique_key="twin", priority="low"),
        ]
    )

    assert [handle.created for handle in handles] == [True, True, False]
    assert handles[0].id == handles[2].id
    assert {name: each.queued for name, each in (await numbers(jobs)).backlogs.items()} == {
        "high": 1,
        "normal": 1,
        "low": 0,
    }


async def test_many_who_enqueue_one_unique_key_at_once_make_one_job(jobs: OpenJobs) -> None:
    made: list[bool | None] = []

    async def enqueue() -> None:
        made.append((await jobs.enqueue("add", {"a": 1}, unique_key="invoice-7")).created)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(enqueue)

    assert Counter(made) == {True: 1, False: 19}


@pytest.mark.parametrize("key", ["", "a" * 201])
async def test_a_unique_key_that_is_none_is_refused(jobs: OpenJobs, key: str) -> None:
    with pytest.raises(ConfigurationError, match="unique_key must have 1 to 200 characters"):
        await jobs.enqueue("add", {"a": 1}, unique_key=key)


async def test_a_delayed_job_does_not_count_as_waiting_before_it_is_due(jobs: OpenJobs) -> None:
    handle = await jobs.enqueue("add", {"a": 1}, delay=60)

    assert await look(jobs, handle) == JobState("queued")
    backlogs = (await numbers(jobs)).backlogs.values()
    assert [(each.queued, each.oldest) for each in backlogs] == [(0, 0.0)] * 3


async def test_each_priority_has_its_own_backlog(jobs: OpenJobs) -> None:
    wanted = {"high": 3, "normal": 2, "low": 1}
    assert list(wanted) == list(PRIORITIES)

    for priority, count in wanted.items():
        await jobs.enqueue_many([Job("add", {"a": 1}, priority=priority)] * count)  # type: ignore[arg-type]  # (its literals)

    told = await numbers(jobs)
    assert {name: each.queued for name, each in told.backlogs.items()} == wanted
    assert all(0 <= each.oldest < 60 for each in told.backlogs.values())
    assert (told.workers, told.dead, told.types) == (0, 0, {})


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (Job("unheard.of"), "no task is named 'unheard.of'; Jobs.tasks has: add, "),
        (Job("add", {"b": 1}), "the payload of add lacks a"),
        (Job("add", {"a": 1, "c": 1}), "the payload of add has no c"),
        (Job("echo", {"a": object()}), "the payload of echo must be JSON"),
        (Job("echo", {"a": "x" * (256 << 10)}), "the payload of echo has .* bytes"),
        (Job("add", {"a": 1}, delay=-1), "delay must be 0 seconds or more"),
        (Job("add", {"a": 1}, priority=cast("Any", "urgent")), "priority must be one of"),
    ],
)
async def test_of_a_batch_with_an_error_nothing_is_stored(jobs: OpenJobs, wrong: Job, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        await jobs.enqueue_many([Job("add", {"a": 1}), wrong])

    assert await queued(jobs) == 0


async def test_who_waits_for_a_result_is_told_when_the_time_is_over(jobs: OpenJobs) -> None:
    handle = await jobs.enqueue("add", {"a": 1})

    with pytest.raises(TimeoutError):
        await handle.result(timeout=0.05)


async def test_queues_of_one_server_do_not_see_each_other(
    anyio_backend: Any, broker_url: str, queue: str
) -> None:
    async with (
        jobs_at(broker_url, queue=queue).open() as one,
        jobs_at(broker_url, queue=f"{queue}-2").open() as other,
    ):
        first = await one.enqueue("add", {"a": 1}, unique_key="invoice-7")
        second = await other.enqueue("add", {"a": 2}, unique_key="invoice-7")

        assert (first.created, second.created) == (True, True)
        assert (await queued(one), await queued(other)) == (1, 1)


async def test_what_the_broker_counts_is_asked_once_a_second_at_most(jobs: OpenJobs) -> None:
    queue = jobs._queue
    await queue.home.call(queue.numbers)
    told = [await queue.home.call(queue.numbers) for _ in range(3)]

    assert told[0] is told[1] is told[2]


async def test_a_repr_shows_no_payload(jobs: OpenJobs) -> None:
    job = Job("echo", {"password": "hunter2"})
    handle = await jobs.enqueue("echo", {"password": "hunter2"})

    assert "hunter2" not in f"{job!r} {handle!r} {jobs!r}"
    assert repr(handle) == f"<JobHandle {handle.id}, created=True>"


async def test_jobs_join_a_transaction_outside_a_request_where_they_are_told_to(
    anyio_backend: Any, jobs_database: str, queue: str
) -> None:
    async with (
        jobs_at(jobs_database, queue=queue).open() as jobs,
        Database(jobs_database, pool=PoolConfig(min=0, max=1)).open() as db,
    ):
        async with db.transaction():
            await jobs.enqueue("add", {"a": 1}, within=db)
            before = await queued(jobs)

        assert (before, await queued(jobs)) == (0, 1)


async def test_what_saqs_own_client_would_read_is_what_was_written(
    anyio_backend: Any, jobs_database: str, queue: str
) -> None:
    async with jobs_at(jobs_database, queue=queue).open() as jobs:
        handle = await jobs.enqueue("add", {"a": 1}, priority="low")

        async def stored() -> list[Any]:
            return await rows_of(
                jobs_database,
                "SELECT queue, status, priority, group_key, expire_at FROM sipup.saq_jobs WHERE key = $1",
                handle.id,
            )

        [row] = await jobs._queue.home.call(stored)

    assert tuple(row) == (queue, "queued", 30, None, None)
