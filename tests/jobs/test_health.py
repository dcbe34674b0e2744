"""What health tells of a queue, and how an outage of its server shows."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from sipup_middleware import Health
from sipup_middleware.context import Context
from sipup_middleware.jobs import Job
from sipup_middleware.jobs.broker import Backlog, Numbers, TypeNumbers
from sipup_middleware.jobs.meters import Meters
from sipup_middleware.services import Valkey, run_services
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact, Telemetry
from tests.database.doubles import wire_to
from tests.jobs.asking import poll
from tests.jobs.shop import jobs_at
from tests.jobs.sites import Site

pytestmark = pytest.mark.live

BATCH = [Job("add", {"a": 1}, priority="high"), Job("add", {"a": 1}), Job("add", {"a": 1}, delay=60)]


async def enqueue(sipup: Context) -> object:
    return len(await sipup.jobs.enqueue_many(BATCH))


async def test_readiness_warns_without_workers_and_stays_ready(broker_url: str, queue: str) -> None:
    async with Site(enqueue, Health(), jobs_at(broker_url, queue=queue)).up() as site:
        reply = await site.get("/_health/ready", client="127.0.0.1")

    shown = reply.json()
    assert (reply.status, shown["status"]) == (200, "warn")
    assert shown["checks"]["jobs:workers"] == [
        {"status": "warn", "observedValue": 0, "output": "no worker runs the jobs", "critical": False}
    ]
    assert shown["checks"]["jobs:oldest"] == [
        {"status": "pass", "observedValue": 0.0, "observedUnit": "s", "critical": False}
    ]


async def test_the_metrics_have_a_section_of_the_queue(broker_url: str, queue: str) -> None:
    async with Site(enqueue, Health(), jobs_at(broker_url, queue=queue)).up() as site:
        await site.get()

        section = (await site.health("metrics"))["jobs"]

    ages = [each.pop("oldest_s") for each in section["queues"].values()]
    assert section == {
        "workers": 0,
        "queues": {
            "high": {"queued": 1, "active": 0},
            "normal": {"queued": 1, "active": 0},
            "low": {"queued": 0, "active": 0},
        },
        "by_type": {},
        "dead": 0,
    }
    assert all(0 <= age < 60 for age in ages)
    assert ages[2] == 0


@pytest.mark.parametrize(
    "url", ["unix:///nonexistent.internal/v.sock?db=0", "postgresql:///app?host=/nonexistent"]
)
async def test_a_server_that_is_away_never_fails_readiness_and_its_section_is_null(url: str) -> None:
    async with Site(enqueue, Health(), jobs_at(url)).up() as site:
        reply = await site.get("/_health/ready", client="127.0.0.1")
        metrics = await site.health("metrics")

    assert (reply.status, reply.json()["status"]) == (200, "warn")
    assert {check[0]["status"] for check in reply.json()["checks"].values()} == {"fail"}
    assert metrics["jobs"] is None
    assert [type(fact) for fact in site.facts] == [BackendLost], "told once"


async def test_memory_has_nothing_to_tell(anyio_backend: Any) -> None:
    async with Site(enqueue, Health(), jobs_at("memory://")).up() as site:
        assert "jobs" not in await site.health("metrics")
        assert (await site.health("ready"))["status"] == "pass"


def meters_of(told: Numbers | Exception) -> tuple[Telemetry, list[Fact]]:
    facts: list[Fact] = []
    telemetry = Telemetry([facts.append])

    async def read() -> Numbers:
        if isinstance(told, Exception):
            raise told
        return told

    Meters(telemetry).watch(read)
    return telemetry, facts


async def test_readiness_warns_of_jobs_that_wait_too_long() -> None:
    backlogs = {"high": Backlog(), "normal": Backlog(queued=1, oldest=61.26), "low": Backlog(oldest=5)}
    telemetry, _ = meters_of(Numbers(backlogs, workers=2))  # type: ignore[arg-type]  # (its literals)

    oldest = await telemetry.checks["jobs:oldest"].probe()
    workers = await telemetry.checks["jobs:workers"].probe()

    assert oldest is not None
    assert workers is not None
    assert (oldest.status, oldest.value, oldest.output) == ("warn", 61.3, "jobs wait too long")
    assert (workers.status, workers.value) == ("pass", 2)


async def test_the_section_tells_what_became_of_each_type() -> None:
    types = {"b": TypeNumbers(7, 2, 1, 0.0125), "a": TypeNumbers(completed=1)}
    telemetry, _ = meters_of(Numbers({"high": Backlog(1, 2, 3.04)}, workers=1, dead=4, types=types))

    assert await telemetry.reports["jobs"]() == {
        "workers": 1,
        "queues": {"high": {"queued": 1, "active": 2, "oldest_s": 3.0}},
        "by_type": {
            "a": {"completed": 1, "retried": 0, "failed": 0, "p95_ms": None},
            "b": {"completed": 7, "retried": 2, "failed": 1, "p95_ms": 12.5},
        },
        "dead": 4,
    }


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey to stop."""
    with run_services(postgres=False, environ={}) as running:
        assert running.valkey
        yield running.valkey


@asynccontextmanager
async def hanging(valkey: Valkey) -> AsyncIterator[None]:
    """Have the server answer nobody, and refuse nobody."""
    await anyio.to_thread.run_sync(valkey._nest.signal, "valkey", signal.SIGSTOP)
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(valkey._nest.signal, "valkey", signal.SIGCONT)


async def serves(site: Site) -> bool:
    return (await site.get()).status == 200


async def test_a_server_that_hangs_costs_a_second_and_is_back_when_it_answers(own_valkey: Valkey) -> None:
    async with Site(enqueue, Health(), jobs_at(own_valkey.url)).up() as site:
        assert await serves(site)
        async with hanging(own_valkey):
            with anyio.fail_after(3):
                refused = await site.get()
            with anyio.fail_after(3):
                metrics = await site.health("metrics")
            assert (await site.health("ready"))["status"] == "warn"
        await poll(lambda: serves(site))
        told = await site.health("metrics")

    assert (refused.status, refused.headers["content-type"]) == (503, "application/problem+json")
    assert metrics["jobs"] is None
    assert told["jobs"]["queues"]["high"]["queued"] >= 2
    assert [type(fact) for fact in site.facts] == [BackendLost, BackendRestored]


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False})], ids=["asyncio"])
async def test_a_postgres_that_hangs_costs_seconds_and_is_back_when_it_answers(
    jobs_database: str, queue: str
) -> None:
    async with wire_to(jobs_database) as wire:
        url = wire.url.replace("/postgres?", f"{jobs_database.partition('@')[2].partition('?')[0]}?")
        async with Site(enqueue, Health(), jobs_at(url, queue=queue)).up() as site:
            assert await serves(site)
            wire.frozen = True
            with anyio.fail_after(8):
                refused = await site.get()
            with anyio.fail_after(3):
                metrics = await site.health("metrics")
            wire.frozen = False
            await poll(lambda: serves(site))

    assert refused.status == 503
    assert metrics["jobs"] is None
    assert [type(fact) for fact in site.facts] == [BackendLost, BackendRestored]
