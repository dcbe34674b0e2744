"""What a worker's queue does while its broker is away, and what it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from saq.types import WorkerInfo

from sipup_middleware.jobs import backend
from sipup_middleware.jobs.backend import QuietJob, Status, Tally
from sipup_middleware.jobs.backend_redis import RedisJobs
from sipup_middleware.jobs.durations import bin_of
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact, Telemetry

Step = Callable[[], Awaitable[Any]]


@pytest.fixture
def anyio_backend() -> Any:
    """A worker runs on asyncio."""
    return ("asyncio", {"use_uvloop": False})


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_LONGEST_PAUSE", 0.0)


class Scripted(RedisJobs):
    """A queue without a server: each thing it asks goes as its next step says."""

    def __init__(self, *steps: Step | Exception | QuietJob | None) -> None:
        super().__init__("redis://nowhere.internal", "sipup", connections=1)
        self.facts: list[Fact] = []
        self.written: list[dict[str, dict[str, int]]] = []
        self.steps = list(steps)
        self.prepare(Telemetry([self.facts.append]), lambda _: 0.0)

    async def _step(self) -> Any:
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return await step() if callable(step) else step

    async def take(self, timeout: float, poll_interval: float) -> QuietJob | None:  # noqa: ASYNC109 (SAQ's signature)
        return cast("QuietJob | None", await self._step())

    async def sweep_up(self, lock: int, abort: float) -> list[str]:
        return cast("list[str]", await self._step())

    async def tell_worker_info(self, worker_id: str, info: WorkerInfo, ttl: int) -> None:
        await self._step()

    async def add_to_tally(self, counts: dict[str, dict[str, int]]) -> None:
        await self._step()
        self.written.append(counts)


JOB = QuietJob("work", key="k1")
AWAY = ConnectionError("at host q-7")
LOST, RESTORED = BackendLost("jobs", "ConnectionError"), BackendRestored("jobs")


def info() -> WorkerInfo:
    return {"stats": None, "queue_key": "sipup", "metadata": None}


async def test_an_outage_is_told_once_and_so_is_its_end() -> None:
    queue = Scripted(AWAY, AWAY, AWAY, JOB, JOB)

    taken = [await queue.dequeue() for _ in range(2)]
    assert await queue.sweep() == []
    taken += [await queue.dequeue() for _ in range(2)]

    assert taken == [None, None, JOB, JOB]
    assert queue.facts == [LOST, RESTORED]


async def test_a_sign_of_life_that_is_taken_ends_an_outage() -> None:
    queue = Scripted(AWAY, None)

    await queue.write_worker_info("w1", info(), 1)
    await queue.write_worker_info("w1", info(), 1)

    assert queue.facts == [LOST, RESTORED]


async def test_a_wait_that_ended_without_a_job_is_no_answer() -> None:
    queue = Scripted(AWAY, None)

    await queue.dequeue()
    await queue.dequeue()

    assert queue.facts == [LOST]


async def test_an_error_of_before_the_last_answer_is_no_new_outage() -> None:
    answered = asyncio.Event()

    async def waits_in_vain() -> None:
        await answered.wait()
        raise AWAY

    queue = Scripted(waits_in_vain, AWAY, JOB)
    waiter = asyncio.create_task(queue.dequeue())
    await asyncio.sleep(0)

    await queue.dequeue()
    await queue.dequeue()
    answered.set()
    await waiter

    assert queue.facts == [LOST, RESTORED]


async def test_a_worker_that_stops_takes_no_more() -> None:
    queue = Scripted(JOB)

    queue.stop()

    assert await queue.dequeue() is None
    assert queue.steps == [JOB]


async def test_what_could_not_be_written_is_written_the_next_time() -> None:
    queue = Scripted(None, AWAY, None, None)
    queue.tally.count("work", "completed", 0.05)

    await queue.write_worker_info("w1", info(), 1)
    await queue.write_worker_info("w1", info(), 1)

    assert queue.written == [{"work": outcomes(completed=1)}]
    assert queue.facts == [LOST, RESTORED]


async def test_where_nothing_was_counted_nothing_is_written() -> None:
    queue = Scripted(None)

    await queue.write_worker_info("w1", told := info(), 1)

    assert queue.written == []
    assert told["metadata"] == {"durations": {}}


async def test_what_is_done_is_written_down_when_the_broker_is_there_again() -> None:
    queue = Scripted(AWAY, AWAY, JOB)

    assert await queue.insist(queue._step) is JOB
    assert queue.facts == [LOST]


async def test_a_worker_that_stops_does_not_insist() -> None:
    queue = Scripted(AWAY)
    queue.stop()

    with pytest.raises(ConnectionError):
        await queue.insist(queue._step)


async def test_an_end_that_is_written_down_is_not_written_over() -> None:
    job = QuietJob("work", key="k1", queue=Scripted())
    job.settled = True

    await job.finish(Status.COMPLETE)

    assert job.status == Status.NEW


def outcomes(*, completed: int = 0, retried: int = 0, failed: int = 0) -> dict[str, int]:
    return {"completed": completed, "retried": retried, "failed": failed}


def counted(*outcomes_of_work: str) -> Tally:
    tally = Tally()
    for outcome in outcomes_of_work:
        tally.count("work", outcome, 0.05)
    return tally


def test_what_was_taken_is_not_taken_again() -> None:
    tally = counted("completed", "completed", "retried")

    assert tally.take() == {"work": outcomes(completed=2, retried=1)}
    assert tally.take() == {}


def test_what_could_not_be_written_is_added_to_what_came_since() -> None:
    tally = counted("completed")
    taken = tally.take()
    tally.count("work", "failed", 0.05)
    tally.count("other", "completed", 0.05)

    tally.put_back(taken)

    assert tally.take() == {"work": outcomes(completed=1, failed=1), "other": outcomes(completed=1)}


def test_durations_are_told_of_the_last_two_windows() -> None:
    tally = counted("completed")
    number = str(bin_of(0.05))

    tally.rotate()
    tally.count("work", "completed", 0.05)
    assert tally.lately == {"work": {number: 2}}

    tally.rotate()
    assert tally.lately == {"work": {number: 1}}

    tally.rotate()
    assert tally.lately == {}


def test_a_job_says_nothing_of_its_payload_result_or_error() -> None:
    job = QuietJob("work", {"password": "hunter2"}, key="k1", result="hunter2", error="hunter2", attempts=2)

    assert repr(job) == job.info() == job.info(full=True) == str(job) == "work k1 (attempt 2 of 1)"
