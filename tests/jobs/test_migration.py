"""The tables come into being once, whoever needs them first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import pytest

from sipup_middleware.bridge import here
from sipup_middleware.errors import ConfigurationError, JobsUnavailable
from sipup_middleware.jobs.broker import JobState
from sipup_middleware.jobs.postgres import PostgresBroker, migrate
from sipup_middleware.jobs.schema import VERSION
from tests.jobs.asking import look, queued
from tests.jobs.servers import rows_of, run_sql
from tests.jobs.shop import jobs_at

pytestmark = pytest.mark.live

MADE = """
SELECT c.oid, c.relname, c.xmin::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'sipup' ORDER BY c.oid
"""


@pytest.fixture
def anyio_backend() -> Any:
    """What migrates lives on asyncio, whatever loop the host runs."""
    return ("asyncio", {"use_uvloop": False})


@pytest.fixture
def owned_by_another(empty_database: str) -> Iterator[str]:
    """The URL of a role that may use what there is, and make nothing."""
    name = f"app_{token_hex(4)}"
    run_sql(empty_database, f"CREATE ROLE {name} LOGIN")
    url = empty_database.replace("postgres@", f"{name}@", 1)
    assert urlsplit(url).username == name
    yield url
    run_sql(empty_database, f"DROP OWNED BY {name}")
    run_sql(empty_database, f"DROP ROLE {name}")


async def test_eight_that_migrate_at_once_all_succeed(empty_database: str) -> None:
    await asyncio.gather(*(migrate(empty_database) for _ in range(8)))

    assert [tuple(row) for row in await rows_of(empty_database, "SELECT * FROM sipup.versions")] == [
        ("jobs", VERSION)
    ]


async def test_a_second_run_changes_nothing(empty_database: str) -> None:
    await migrate(empty_database)
    before = await rows_of(empty_database, MADE)

    await migrate(empty_database)

    assert await rows_of(empty_database, MADE) == before
    assert {"saq_jobs", "saq_stats", "job_tally", "versions"} <= {row["relname"] for row in before}


async def test_a_role_that_may_create_nothing_uses_what_exists(
    empty_database: str, owned_by_another: str
) -> None:
    await migrate(empty_database)
    name = urlsplit(owned_by_another).username
    await rows_of(empty_database, f"GRANT USAGE ON SCHEMA sipup TO {name}")
    await rows_of(empty_database, f"GRANT SELECT ON sipup.versions TO {name}")
    for kind in ("TABLES", "SEQUENCES"):
        await rows_of(empty_database, f"GRANT ALL ON ALL {kind} IN SCHEMA sipup TO {name}")

    async with jobs_at(owned_by_another).open() as jobs:
        handle = await jobs.enqueue("add", {"a": 1})

        assert await look(jobs, handle) == JobState("queued")
        assert await queued(jobs) == 1


async def test_a_role_that_may_create_nothing_is_told_so_where_nothing_exists(owned_by_another: str) -> None:
    broker = PostgresBroker(owned_by_another, "sipup")

    with pytest.raises(ConfigurationError, match=r"the role in Jobs\.url"):
        await here().call(broker.start)


async def test_a_server_that_is_away_at_the_start_is_migrated_when_it_is_there() -> None:
    broker = PostgresBroker("postgresql://app@/app?host=/nonexistent.internal&port=5432", "sipup")

    await here().call(broker.start)

    assert not broker.ready
    with pytest.raises(JobsUnavailable):
        await here().call(broker.prepare)
