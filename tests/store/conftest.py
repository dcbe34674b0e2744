"""Stores to test: over memory, a directory, a real Valkey or Memcached, and servers of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sipup_middleware.services import Valkey, run_services
from sipup_middleware.services.server import Server
from sipup_middleware.store import OpenStore, Store
from tests.store.memcached import Memcached, run_memcached

PATIENT = 5.0
"""Seconds: a deadline that a busy machine keeps."""

DRIVERS = [
    "file",
    pytest.param("valkey", marks=pytest.mark.live),
    pytest.param("memcached", marks=pytest.mark.live),
]


@pytest.fixture(params=["memory", *DRIVERS])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store that promises what every store does, whatever is behind it."""
    return Store(url_of(request, tmp_path), timeout=PATIENT, runtime_dir=str(tmp_path))


@pytest.fixture(params=DRIVERS)
def driven(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store with a second tier."""
    return Store(url_of(request, tmp_path), timeout=PATIENT, runtime_dir=str(tmp_path))


def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "valkey":
        return str(request.getfixturevalue("redis_url"))
    if request.param == "memcached":
        return str(request.getfixturevalue("memcached").url)
    return "memory://" if request.param == "memory" else f"file://{tmp_path}/cache"


@pytest.fixture
async def cache(anyio_backend: Any, store: Store) -> AsyncIterator[OpenStore]:
    async with store.open() as opened:
        yield opened


@pytest.fixture(scope="session")
def memcached() -> Iterator[Memcached]:
    """A Memcached for tests that leave it running."""
    with run_memcached() as running:
        yield running


@pytest.fixture
def own_memcached() -> Iterator[Memcached]:
    """A Memcached to kill."""
    with run_memcached() as running:
        yield running


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey to kill."""
    with run_services(postgres=False, environ={}) as running:
        assert running.valkey
        yield running.valkey


@pytest.fixture(params=["valkey", "memcached"])
def own_server(request: pytest.FixtureRequest) -> Server:
    """Either, to kill, to freeze and to start again."""
    server: Server = request.getfixturevalue(f"own_{request.param}")
    return server
