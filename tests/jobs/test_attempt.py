"""One attempt, and what follows from its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipup_middleware.jobs import Discard, JobContext, Retry, Task
from sipup_middleware.jobs.attempt import delay_of, runner
from sipup_middleware.telemetry import Fact, JobAttemptFailed, Telemetry
from tests.jobs.doubles import Given


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """A worker runs on asyncio."""
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


def task(function: Any, **options: Any) -> Task:
    return Task(function, name="work", **options)


async def attempt(
    work: Task, job: Given | None = None, *, payload: dict[str, Any] | None = None, **surroundings: Any
) -> tuple[Any, Given, list[Fact]]:
    """Run one attempt at *job*; return its result, the job, and what was told of it."""
    job = job or Given()
    facts: list[Fact] = []
    run = runner(work, lambda: surroundings, Telemetry([facts.append]))
    return await run({"job": job}, **(payload or {})), job, facts


def raises(error: BaseException) -> Task:
    async def work(ctx: JobContext) -> None:
        raise error

    return task(work)


async def test_a_job_sees_its_context_and_what_surrounds_it() -> None:
    async def work(ctx: JobContext, invoice: int) -> list[Any]:
        await ctx.progress(0.5)
        return [ctx.id, ctx.name, ctx.attempt, dict(ctx.meta), ctx.db, ctx.store, ctx.jobs, invoice]

    given = Given(attempts=2, meta={"request_id": "ab"})
    result, job, facts = await attempt(task(work), given, payload={"invoice": 7}, db="db", jobs="jobs")

    assert result == ["k1", "work", 2, {"request_id": "ab"}, "db", None, "jobs", 7]
    assert (job.progress, job.ends, facts) == ([0.5], [], [])


async def test_a_result_that_is_not_json_is_dropped_and_the_work_counts_as_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(ctx: JobContext) -> object:
        return {"password": object()}

    result, job, _ = await attempt(task(work))

    assert (result, job.ends) == (None, [])
    assert [record.getMessage() for record in caplog.records if record.name == "sipup_middleware"] == [
        "job work returned dict, which is not JSON: dropped"
    ]


async def test_an_attempt_that_raises_is_repeated_and_told_without_its_message() -> None:
    _, job, facts = await attempt(raises(ValueError("hunter2")), Given(scheduled=12, touched=2_000))

    [(end, trace)] = job.ends
    assert end == "retry"
    assert trace.endswith("ValueError: hunter2\n")
    assert facts == [JobAttemptFailed("work", "k1", 1, "ValueError", 10.0)]


async def test_the_last_attempt_fails_for_good() -> None:
    _, job, facts = await attempt(raises(ValueError()), Given(attempts=4))

    assert [end for end, _ in job.ends] == ["failed"]
    assert facts == [JobAttemptFailed("work", "k1", 4, "ValueError", None)]


async def test_discard_fails_for_good_with_attempts_left() -> None:
    _, job, facts = await attempt(raises(Discard("never")))

    assert [end for end, _ in job.ends] == ["failed"]
    assert facts == [JobAttemptFailed("work", "k1", 1, "Discard", None)]


async def test_retry_does_not_give_a_job_more_attempts_than_it_has() -> None:
    _, job, _ = await attempt(raises(Retry("later", after=5)), Given(attempts=4))

    assert [end for end, _ in job.ends] == ["failed"]


@pytest.mark.parametrize(
    ("after", "waits"), [(5, 5.0), (0.5, 0.5), (0, 0.001), (-3, 0.001), (1e9, 3600.0), (None, 0.0)]
)
async def test_retry_says_when_within_an_hour(after: float | None, waits: float) -> None:
    _, job, _ = await attempt(raises(Retry("later", after=after)))

    assert (job.ends[0][0], job.retry_delay) == ("retry", waits)


async def test_what_an_attempt_asked_for_is_forgotten_in_the_next() -> None:
    _, job, _ = await attempt(raises(ValueError()), Given(retry_delay=5.0))

    assert job.retry_delay == 0.0


async def test_an_attempt_ends_at_its_timeout() -> None:
    ended = asyncio.Event()

    async def work(ctx: JobContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    _, job, facts = await attempt(task(work, timeout=0.01))

    assert ended.is_set()
    assert job.ends[0][0] == "retry"
    assert [fact.error for fact in facts if isinstance(fact, JobAttemptFailed)] == ["TimeoutError"]


async def test_a_worker_that_is_told_to_stop_is_not_an_attempt_that_failed() -> None:
    with pytest.raises(asyncio.CancelledError):
        await attempt(raises(asyncio.CancelledError()))


async def test_of_a_long_traceback_the_end_is_kept() -> None:
    _, job, _ = await attempt(raises(ValueError("x" * 50_000 + "the end")))

    trace = job.ends[0][1]
    assert len(trace) == 10_000
    assert trace.endswith("the end\n")


TASKS = {"work": task(raises(ValueError()).function, backoff=(2, 4.0, 300))}


@pytest.mark.parametrize(("attempts", "middle"), [(1, 2), (2, 8), (3, 32), (9, 300)])
def test_a_job_waits_as_its_backoff_says(attempts: int, middle: float) -> None:
    delay = delay_of(TASKS)(Given(attempts=attempts))  # type: ignore[arg-type]  # (a double)

    assert 0.75 * middle <= delay <= 1.25 * middle


def test_a_job_waits_as_long_as_it_asked_and_once() -> None:
    job: Any = Given(retry_delay=7.5)

    assert delay_of(TASKS)(job) == 7.5
    assert job.retry_delay == 0.0


def test_a_job_whose_worker_was_stopped_in_its_first_attempt_does_not_wait() -> None:
    assert delay_of(TASKS)(Given(attempts=0)) == 0  # type: ignore[arg-type]  # (a double)


def test_a_job_that_nobody_here_knows_waits_too() -> None:
    assert delay_of(TASKS)(Given(function="of.a.newer.release")) > 0  # type: ignore[arg-type]  # (a double)
