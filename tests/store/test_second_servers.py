"""A server that is killed, frozen, full or silent costs misses; back again, it serves."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from sipup_middleware.services import Valkey, run_services
from sipup_middleware.services.server import Server
from sipup_middleware.store import OpenStore, Store
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact, Telemetry
from tests.store.conftest import PATIENT
from tests.store.doubles import TEXT

pytestmark = pytest.mark.live


def watched(store: Store, *, layer: str = "store") -> tuple[Telemetry, list[Fact]]:
    """Collect the facts that *layer* tells."""
    facts = list[Fact]()
    telemetry = Telemetry([lambda fact: facts.append(fact) if getattr(fact, "layer", "") == layer else None])
    store.register(telemetry)
    return telemetry, facts


async def fill(cache: OpenStore, key: bytes, value: str = "chair") -> None:
    tags = cache.collect()
    cache.keep(key, value, TEXT, ttl=60, tags=tags)
    await cache.share(key, value, TEXT, ttl=60, tags=tags)


async def until_served(cache: OpenStore, key: bytes) -> None:
    """Wait for the breaker's next probe, and for *key* to cross the second tier again."""
    with anyio.fail_after(30):
        while True:
            await fill(cache, key)
            cache._memory.clear()
            if await cache.get(key, TEXT) is not None:
                return
            await anyio.sleep(0.02)


async def test_a_killed_server_is_missed_told_of_once_and_served_from_when_it_is_back(
    own_server: Server, tmp_path: Path
) -> None:
    store = Store(own_server.url, timeout=PATIENT, runtime_dir=str(tmp_path))
    _, facts = watched(store)
    async with store.open() as cache:
        await fill(cache, b"before")
        await anyio.to_thread.run_sync(own_server.kill)

        for number in range(10):
            await fill(cache, b"%d" % number)
            assert await cache.get(b"missing", TEXT) is None

        assert [type(fact) for fact in facts] == [BackendLost]
        assert cache.stats()["degraded"] == 1
        assert cache.peek(b"before") == "chair", "what is in process is served"

        await anyio.to_thread.run_sync(own_server.start)
        await until_served(cache, b"after")

        assert facts[1:] == [BackendRestored("store")]


async def test_a_server_killed_amid_calls_lets_each_of_them_go(own_server: Server, tmp_path: Path) -> None:
    store = Store(own_server.url, timeout=PATIENT, runtime_dir=str(tmp_path))
    async with store.open() as cache:
        large = "x" * 500_000
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(fill, cache, b"%d" % number, large)
                    tasks.start_soon(cache.get, b"%d" % (number + 1000), TEXT)
                await anyio.sleep(0.005)
                await anyio.to_thread.run_sync(own_server.kill)
        await anyio.to_thread.run_sync(own_server.start)

        await until_served(cache, b"after")


async def test_a_frozen_server_is_a_miss_within_the_deadline_and_its_late_answers_reach_nobody(
    own_server: Server, tmp_path: Path
) -> None:
    store = Store(own_server.url, timeout=0.05, runtime_dir=str(tmp_path))
    telemetry, facts = watched(store)
    async with store.open() as cache:
        for number in range(20):
            await until_served(cache, b"%d" % number)
        facts.clear()
        cache._memory.clear()

        with frozen(own_server), anyio.fail_after(20):
            for number in range(50):
                assert await cache.get(b"%d" % (number % 20), TEXT) is None
            await fill(cache, b"large", "x" * 800_000)

        assert isinstance(facts[0], BackendLost)
        assert facts[0].reason == "TimeoutError"
        assert telemetry.counter("store.errors", op="get").value >= 5

        await until_served(cache, b"after")
        for number in range(20):
            value = f"value {number}"
            await fill(cache, b"%d" % number, value)
            cache._memory.clear()
            assert await cache.get(b"%d" % number, TEXT) in {value, None}


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    server._nest.signal(server._name, signal.SIGSTOP)
    try:
        yield
    finally:
        server._nest.signal(server._name, signal.SIGCONT)


@pytest.mark.parametrize("scheme", ["redis", "memcached"])
async def test_a_server_that_never_says_a_word_is_a_miss(
    scheme: str, tmp_path: Path, anyio_backend: Any
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        store = Store(
            f"{scheme}://127.0.0.1:{mute.getsockname()[1]}", timeout=0.02, runtime_dir=str(tmp_path)
        )
        layer = "store:link" if scheme == "redis" else "store"  # what is asked first
        _, facts = watched(store, layer=layer)

        async with store.open() as cache:
            with anyio.fail_after(10):
                for _ in range(20):
                    assert await cache.get(b"missing", TEXT) is None

    assert facts == [BackendLost(layer, "TimeoutError")]


@pytest.fixture
def small_valkey() -> Iterator[Valkey]:
    """A Valkey that is soon full and evicts nothing."""
    settings = {"maxmemory": "3mb", "maxmemory-policy": "noeviction"}
    with run_services(postgres=False, environ={}, valkey_settings=settings) as running:
        assert running.valkey
        yield running.valkey


async def test_a_full_valkey_refuses_values_and_still_answers(small_valkey: Valkey, tmp_path: Path) -> None:
    store = Store(small_valkey.url, timeout=PATIENT, runtime_dir=str(tmp_path))
    telemetry, facts = watched(store)
    async with store.open() as cache:
        await fill(cache, b"first")
        for number in range(20):
            await fill(cache, b"%d" % number, "x" * 500_000)
        cache._memory.clear()

        assert await cache.get(b"first", TEXT) == "chair"

    assert telemetry.counter("store.refused").value > 10
    assert not facts
