"""Every async test runs on asyncio, on uvloop and on trio; servers are real and started once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from blockbuster import blockbuster_ctx
from hypothesis import settings

from sipup_middleware.bridge import bridge
from sipup_middleware.services import Services, run_services

settings.register_profile("suite", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=10_000)
settings.load_profile("suite")

BACKENDS = [
    pytest.param(("asyncio", {"debug": True}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True, scope="session")
def bridge_runs() -> None:
    """Start the bridge's thread before loops are watched: it takes a moment of whoever calls it first."""
    bridge()


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """Fail a test whose event loop was blocked by our own code."""
    with blockbuster_ctx("sipup_middleware") as blockbuster:
        # asyncpg looks for ~/.pgpass at each dial without a password.
        blockbuster.functions["os.stat"].can_block_in("asyncpg/connect_utils.py", "_read_password_file")
        # coverage's tracer locks its data when it meets a new file, in whatever thread.
        blockbuster.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", "lock_data")
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
    """The shared one, without what earlier tests cached there: all hosts share that."""
    assert services.redis_url
    with redis.Redis.from_url(services.redis_url) as client:
        for pattern in ("sip:1:c:*", "sip:1:t:*"):
            for key in client.scan_iter(pattern):
                client.delete(key)
    return services.redis_url
