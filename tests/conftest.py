"""Every async test runs on asyncio, on uvloop and on trio; servers are real and started once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from sipup_middleware.services import Services, run_services

BACKENDS = [
    pytest.param(("asyncio", {"debug": True}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """Fail a test whose event loop was blocked by our own code."""
    with blockbuster_ctx("sipup_middleware"):
        yield


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """A real PostgreSQL and Valkey for tests that leave them running."""
    with run_services(environ=os.environ) as running:
        yield running


@pytest.fixture
def own_services() -> Iterator[Services]:
    """A PostgreSQL and a Valkey of this test's own, to stop, restart and kill."""
    with run_services(environ={}) as running:
        yield running


@pytest.fixture
def database_url(services: Services) -> str:
    assert services.database_url
    return services.database_url


@pytest.fixture
def redis_url(services: Services) -> str:
    assert services.redis_url
    return services.redis_url
