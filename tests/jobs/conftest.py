"""Queues to test: on PostgreSQL and on Valkey, each test's with a name of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from secrets import token_hex
from typing import Any

import pytest

import sipup_middleware.jobs.postgres
import sipup_middleware.jobs.redis  # noqa: F401 (both imported here, where no loop waits for it)
from sipup_middleware.jobs import OpenJobs
from sipup_middleware.services import Services
from tests.jobs.servers import new_database
from tests.jobs.shop import jobs_at


@pytest.fixture(scope="session")
def jobs_database(services: Services) -> Iterator[str]:
    """A database for queues and for the notes that jobs write."""
    assert services.database_url
    with new_database(services.database_url) as url:
        yield url


@pytest.fixture
def empty_database(database_url: str) -> Iterator[str]:
    """A database without a queue."""
    with new_database(database_url) as url:
        yield url


@pytest.fixture(params=["postgres", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Where the queue is: what uses it is tested on both."""
    return str(request.getfixturevalue("jobs_database" if request.param == "postgres" else "redis_url"))


@pytest.fixture
def queue() -> str:
    return f"t{token_hex(4)}"


@pytest.fixture
async def jobs(anyio_backend: Any, broker_url: str, queue: str) -> AsyncIterator[OpenJobs]:
    async with jobs_at(broker_url, queue=queue).open() as opened:
        yield opened
