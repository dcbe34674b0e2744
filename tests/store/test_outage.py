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


def watched(store: Store, *, layer: str = "store") -> tuple[Telemetry, list[Fact]]:
    """Collect the facts that *layer* tells."""
    facts = list[Fact]()
    telemetry = Telemetry([lambda fact: facts.append(fact) if getattr(fact, "layer", "") == layer else None])
    store.register(telemetry)
    return telemetry, facts


async def ping(telemetry: Telemetry) -> str:
    reading = await telemetry.checks["store:ping"].probe()
    assert reading
    return reading.status


async def fill(cache: OpenStore, key: bytes) -> None:
    tags = cache.collect("products")
    cache.keep(key, "chair", TEXT, ttl=60, tags=tags)
    await cache.share(key, "chair", TEXT, ttl=60, tags=tags)


async def test_a_killed_server_is_left_alone_until_it_is_back(own_valkey: Valkey, tmp_path: Path) -> None:
    store = Store(own_valkey.url, timeout=PATIENT, runtime_dir=str(tmp_path))
    telemetry, facts = watched(store)
    async with store.open() as cache:
        await fill(cache, b"before")
        cache.keep(b"untagged", "table", TEXT, ttl=60, tags=cache.collect())
        await anyio.to_thread.run_sync(own_valkey.kill)

        for number in range(10):
            assert await cache.get(b"missing", TEXT) is None
            await fill(cache, b"%d" % number)
        cache.delete(b"0")
        check = await ping(telemetry)

        assert cache.peek(b"untagged") == "table", "what nobody can purge is served"
        assert check == "fail"

        await anyio.to_thread.run_sync(own_valkey.start)
        with anyio.fail_after(30):
            while not cache.stats()["link"] or await ping(telemetry) != "pass":  # noqa: ASYNC110 (a live test)
                await anyio.sleep(0.01)

        assert list(telemetry.gauges("store.degraded")) == [({}, 0.0)]
        assert [type(fact) for fact in facts] in ([], [BackendLost, BackendRestored])
        await fill(cache, b"after")
        assert cache.peek(b"after") == "chair"


async def test_a_server_that_is_down_at_startup_hinders_nothing(tmp_path: Path, anyio_backend: Any) -> None:
    store = Store(f"unix://{tmp_path}/nobody.sock?db=0", runtime_dir=str(tmp_path))
    _, facts = watched(store, layer="store:link")

    async with store.open() as cache:
        await fill(cache, b"key")
        assert await cache.get(b"missing", TEXT) is None
        await cache.invalidate(tags=["products"])
        await cache.clear()

    assert len(facts) == 1
    assert str(tmp_path) not in repr(facts)


async def test_a_slow_server_is_not_waited_for(mute_url: str, tmp_path: Path) -> None:
    store = Store(mute_url, timeout=0.02, runtime_dir=str(tmp_path))
    telemetry, facts = watched(store, layer="store:link")

    async with store.open() as cache:
        with anyio.fail_after(10):
            await fill(cache, b"key")
            for _ in range(50):
                assert await cache.get(b"missing", TEXT) is None

    assert telemetry.counter("store.errors", op="get").value == 0
    assert isinstance(facts[0], BackendLost)
    assert "Timeout" in facts[0].reason


async def test_a_cancelled_reader_harms_nobody(redis_url: str, tmp_path: Path) -> None:
    store = Store(redis_url, timeout=PATIENT, runtime_dir=str(tmp_path))
    async with store.open() as cache:
        for number in range(20):
            while await cache.get(b"%d" % number, TEXT) is None:  # a link that is late shares nothing
                tags = cache.collect()
                await cache.share(b"%d" % number, f"value {number}", TEXT, ttl=60, tags=tags)
        cache._memory.clear()

        for number in range(20):
            async with anyio.create_task_group() as tasks:
                for other in range(20):
                    tasks.start_soon(cache.get, b"%d" % other, TEXT)
                await anyio.sleep(number / 10_000)  # in the midst of it, each time at another point
                tasks.cancel_scope.cancel()
            cache._memory.clear()

        with anyio.fail_after(30):
            for number in range(20):
                while (found := await cache.get(b"%d" % number, TEXT)) is None:  # noqa: ASYNC110 (it polls)
                    await anyio.sleep(0.05)
                assert found == f"value {number}"


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

    assert clients <= 16 + 2, "the second tier's, ours, and the link's"
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
