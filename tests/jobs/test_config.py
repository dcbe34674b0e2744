"""What may be said of the layer, and that it keeps its secrets."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs import JobContext, Jobs, job
from tests.jobs.shop import TASKS, add, echo

SECRET = "hunter2"
URLS = (
    f"postgresql://app:{SECRET}@db/app",
    f"postgres://app@db/app?password={SECRET}",
    f"redis://:{SECRET}@cache:6379/1",
    f"rediss://cache:6379?password={SECRET}",
    f"valkey://:{SECRET}@cache",
    f"unix:///run/valkey.sock?db=0&password={SECRET}",
    "memory://",
)


@pytest.mark.parametrize("url", URLS)
def test_each_kind_of_url_is_known_and_keeps_its_secret(url: str) -> None:
    jobs = Jobs(url, tasks=(add,))

    assert SECRET not in repr(jobs)
    assert repr(jobs).endswith("tasks=(add), queue='sipup')")


@pytest.mark.parametrize(
    ("url", "options", "complaint"),
    [
        (
            f"mysql://app:{SECRET}@db",
            {},
            r"Jobs\.url has an unknown scheme; known: postgresql://, .*memory://",
        ),
        (SECRET, {}, r"Jobs\.url has an unknown scheme"),
        (f"redis://:{SECRET}@cache?colour=1", {}, r"Jobs\.url cannot be read"),
        ("memory://", {"queue": ""}, r"Jobs\.queue must be 1 to 32 of"),
        ("memory://", {"queue": "a:b"}, r"Jobs\.queue must be 1 to 32 of .*'a:b'"),
        ("memory://", {"queue": "a" * 33}, r"Jobs\.queue must be 1 to 32 of"),
        ("memory://", {"tasks": (add.function,)}, r"Jobs\.tasks takes what @job makes"),
        ("memory://", {"tasks": (add, add)}, r"Jobs\.tasks must have names of their own"),
    ],
)
def test_nonsense_is_refused_by_its_field(url: str, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        Jobs(url, **options)

    assert SECRET not in str(refused.value)


def test_the_tasks_are_copied() -> None:
    given = [add]

    jobs = Jobs("memory://", tasks=given)
    given.append(echo)

    assert jobs.tasks == (add,)


def test_a_layer_is_a_value() -> None:
    one = Jobs(URLS[0], tasks=TASKS)

    assert one == Jobs(URLS[0], tasks=list(TASKS))
    assert hash(one) == hash(Jobs(URLS[0], tasks=TASKS))
    assert one != Jobs(URLS[0], tasks=TASKS, queue="other")
    assert one != Jobs(URLS[2], tasks=TASKS)


@pytest.mark.parametrize("twin_of", [copy.copy, copy.deepcopy, lambda jobs: pickle.loads(pickle.dumps(jobs))])
def test_a_copy_is_equal_and_opens_for_itself(twin_of: Any) -> None:
    jobs = Jobs("memory://")

    twin = twin_of(jobs)

    assert twin == jobs
    assert (twin._opening is jobs._opening) is (twin_of is copy.copy)


async def test_memory_does_the_work_as_it_is_enqueued() -> None:
    async with Jobs("memory://", tasks=TASKS).open() as jobs:
        handle = await jobs.enqueue("add", {"a": 1, "b": 2})

        assert await handle.result() == {"sum": 3, "attempt": 1, "meta": {}}
        assert handle.created is True


async def test_memory_examines_a_payload_like_any_broker() -> None:
    async with Jobs("memory://", tasks=TASKS).open() as jobs:
        with pytest.raises(ConfigurationError, match="lacks a"):
            await jobs.enqueue("add", {"b": 2})


def test_memory_has_no_worker() -> None:
    with pytest.raises(ConfigurationError, match="has no worker"):
        Jobs("memory://").worker()


@pytest.mark.parametrize("name", ["concurrency", "grace", "db_connections"])
def test_a_worker_refuses_nonsense_by_its_field(name: str) -> None:
    nonsense: dict[str, Any] = {name: -1}

    with pytest.raises(ConfigurationError, match=f"worker's {name} must be at least"):
        Jobs(URLS[0]).worker(**nonsense)


@pytest.mark.parametrize("url", [URLS[0], URLS[2]])
def test_a_worker_tells_saq_its_settings_and_connects_to_nothing(url: str) -> None:
    settings = Jobs(url, tasks=TASKS, queue="shop").worker(concurrency=3, grace=7)()

    assert settings["queue"].name == "shop"
    assert (settings["concurrency"], settings["shutdown_grace_period_s"]) == (3, 7)
    assert {name for name, _ in settings["functions"]} == {task.name for task in TASKS}


async def test_a_job_that_raises_has_failed_and_harms_nobody() -> None:
    @job("broken")
    async def broken(ctx: JobContext) -> None:
        raise LookupError("it is gone")

    async with Jobs("memory://", tasks=(broken,)).open() as jobs:
        handle = await jobs.enqueue("broken")

        state = jobs._queue.broker.ran[handle.id]  # type: ignore[attr-defined]  # (the inline broker's)

    assert state.status == "failed"
    assert "LookupError: it is gone" in state.error
