"""A server that is down, slow or full of nonsense costs misses, never a request."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import redis

from sipup_middleware.services import Valkey
from sipup_middleware.store import OpenStore, Store
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact, Telemetry
from tests.store.conftest import PATIENT
from tests.store.doubles import TEXT, Text

pytestmark = pytest.mark.live


@pytest.fixture
def mute_url() -> Iterator[str]:
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


def watched(store: Store) -> tuple[Telemetry, list[Fact]]:
    facts = list[Fact]()
    telemetry = Telemetry([facts.append])
    store.register(telemetry)
    return telemetry, facts


async def ping(telemetry: Telemetry) -> str:
    reading = await telemetry.checks["store:ping"].probe()
    assert reading
    return reading.status


async def fill(cache: OpenStore, key: bytes) -> None:
    tags = cache.collect("products")
    assert cache.keep(key, "chair", TEXT, ttl=60, tags=tags)
    await cache.share(key, "chair", TEXT, ttl=60, tags=tags)


async def test_a_killed_server_is_left_alone_until_it_is_back(own_valkey: Valkey, tmp_path: Path) -> None:
    store = Store(own_valkey.url, timeout=PATIENT, runtime_dir=str(tmp_path))
    telemetry, facts = watched(store)
    async with store.open() as cache:
        await fill(cache, b"before")
        await anyio.to_thread.run_sync(own_valkey.kill)

        for number in range(10):
            assert await cache.get(b"missing", TEXT) is None
            await fill(cache, b"%d" % number)
        cache.delete(b"0")
        degraded = list(telemetry.gauges("store.degraded"))
        check = await ping(telemetry)

        assert cache.peek(b"before") == "chair", "what is in process is served"
        assert cache.peek(b"9") == "chair"
        assert degraded == [({}, 1.0)]
        assert check == "fail"
        assert [type(fact) for fact in facts] == [BackendLost]
        assert cache.stats()["errors"] == 6, "five, and the check's"

        await anyio.to_thread.run_sync(own_valkey.start)
        with anyio.fail_after(30):
            while len(facts) == 1:
                await cache.get(b"missing", TEXT)
                await anyio.sleep(0.01)

        assert facts[1:] == [BackendRestored("store")]
        assert list(telemetry.gauges("store.degraded")) == [({}, 0.0)]
        assert await ping(telemetry) == "pass"
        await fill(cache, b"after")


async def test_a_server_that_is_down_at_startup_hinders_nothing(tmp_path: Path, anyio_backend: Any) -> None:
    store = Store(f"unix://{tmp_path}/nobody.sock?db=0", runtime_dir=str(tmp_path))
    _, facts = watched(store)

    async with store.open() as cache:
        await fill(cache, b"key")
        assert await cache.get(b"missing", TEXT) is None
        for _ in range(10):
            await cache.get(b"missing", TEXT)

    assert len(facts) == 1
    assert str(tmp_path) not in repr(facts)


async def test_a_slow_server_is_a_miss_after_the_deadline(mute_url: str, tmp_path: Path) -> None:
    store = Store(mute_url, timeout=0.02, runtime_dir=str(tmp_path))
    telemetry, facts = watched(store)

    async with store.open() as cache:
        with anyio.fail_after(10):
            await fill(cache, b"key")
            for _ in range(50):
                assert await cache.get(b"missing", TEXT) is None

    assert telemetry.counter("store.errors", op="set").value == 1
    assert telemetry.counter("store.errors", op="get").value >= 4
    assert isinstance(facts[0], BackendLost)
    assert "Timeout" in facts[0].reason


async def test_a_cancelled_reader_harms_nobody(redis_url: str, tmp_path: Path) -> None:
    store = Store(redis_url, timeout=PATIENT, runtime_dir=str(tmp_path))
    async with store.open() as cache:
        for number in range(20):
            tags = cache.collect()
            await cache.share(b"%d" % number, f"value {number}", TEXT, ttl=60, tags=tags)

        for number in range(20):
            async with anyio.create_task_group() as tasks:
                for other in range(20):
                    tasks.start_soon(cache.get, b"%d" % other, TEXT)
                await anyio.sleep(number / 10_000)  # in the midst of it, each time at another point
                tasks.cancel_scope.cancel()
            cache._memory.clear()

        for number in range(20):
            assert await cache.get(b"%d" % number, TEXT) == f"value {number}"


async def test_sharing_goes_on_in_a_cancelled_scope(redis_url: str, tmp_path: Path) -> None:
    store = Store(redis_url, timeout=PATIENT, runtime_dir=str(tmp_path))
    async with store.open() as cache:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await cache.share(b"key", "chair", TEXT, ttl=60, tags=cache.collect())

        assert await cache.get(b"key", TEXT) == "chair"


async def test_what_somebody_else_wrote_under_our_name_is_a_miss(redis_url: str, tmp_path: Path) -> None:
    store = Store(redis_url, timeout=PATIENT, runtime_dir=str(tmp_path))
    telemetry, _ = watched(store)
    async with store.open() as cache:
        await fill(cache, b"key")
        await fill(cache, b"other")
        with redis.Redis.from_url(redis_url) as client:
            name, other = f"sip:1:c:{cache._name(b'key')}", f"sip:1:c:{cache._name(b'other')}"
            client.set(name, client.get(other) or b"")
            assert client.pttl(other) <= 60_000
        cache._memory.clear()

        assert await cache.get(b"key", TEXT) is None
        assert await cache.get(b"other", TEXT) == "chair"

    assert telemetry.counter("store.errors", op="decode").value == 1


async def test_more_readers_than_connections_wait_their_turn(own_valkey: Valkey, tmp_path: Path) -> None:
    store = Store(own_valkey.url, timeout=PATIENT, runtime_dir=str(tmp_path))
    async with store.open() as cache:
        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(cache.get, b"%d" % number, TEXT)
        with redis.Redis.from_url(own_valkey.url) as client:
            clients = client.info("clients")["connected_clients"]

    assert clients <= 17
    assert cache.stats()["errors"] == 0


async def test_a_value_that_cannot_be_encoded_is_counted_and_kept_in_process(
    redis_url: str, tmp_path: Path
) -> None:
    class Unfit(Text):
        def encode(self, value: str) -> tuple[object, bytes]:
            return {value}, b""

    store = Store(redis_url, timeout=PATIENT, runtime_dir=str(tmp_path))
    telemetry, _ = watched(store)
    async with store.open() as cache:
        tags = cache.collect()
        cache.keep(b"key", "chair", Unfit(), ttl=60, tags=tags)
        await cache.share(b"key", "chair", Unfit(), ttl=60, tags=tags)

        assert cache.peek(b"key") == "chair"

    assert telemetry.counter("store.errors", op="encode").value == 1
