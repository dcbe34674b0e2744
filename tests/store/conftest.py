"""Stores to test: over memory, over a real Valkey, and over a Valkey of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sipup_middleware.services import Valkey, run_services
from sipup_middleware.store import OpenStore, Store

PATIENT = 5.0
"""Seconds: a deadline that a busy machine keeps."""


@pytest.fixture(params=["memory", pytest.param("valkey", marks=pytest.mark.live)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    url = "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")
    return Store(url, timeout=PATIENT, runtime_dir=str(tmp_path))


@pytest.fixture
async def cache(anyio_backend: Any, store: Store) -> AsyncIterator[OpenStore]:
    async with store.open() as opened:
        yield opened


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey to kill."""
    with run_services(postgres=False, environ={}) as running:
        assert running.valkey
        yield running.valkey
