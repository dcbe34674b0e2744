"""What every store promises, whatever is behind it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any

import anyio
import pytest
import redis
from anyio.lowlevel import checkpoint

from sipup_middleware.store import OpenStore, Store
from sipup_middleware.store.directory import place_of
from sipup_middleware.telemetry import Telemetry
from tests.store.doubles import TEXT, Clock
from tests.store.memcached import Memcached

KEY = b"GET http://testserver/products"


async def fill(cache: OpenStore, value: str, *tags: str, key: bytes = KEY, ttl: float = 60) -> bool:
    """Keep and share, as a cache does after a miss."""
    taken = cache.collect(*tags)
    kept = cache.keep(key, value, TEXT, ttl=ttl, tags=taken)
    await cache.share(key, value, TEXT, ttl=ttl, tags=taken)
    return kept


async def test_what_is_kept_is_found(cache: OpenStore) -> None:
    assert await fill(cache, "chair", "products")

    assert cache.peek(KEY) == "chair"
    assert await cache.get(KEY, TEXT) == "chair"
    assert cache.peek(b"another") is None
    assert await cache.get(b"another", TEXT) is None


async def test_a_value_replaces_the_one_before_it(cache: OpenStore) -> None:
    await fill(cache, "chair")
    await fill(cache, "table")

    assert await cache.get(KEY, TEXT) == "table"
    assert cache.stats()["entries"] == 1


async def test_the_second_tier_serves_a_process_that_starts_anew(store: Store, anyio_backend: Any) -> None:
    async with store.open() as before:
        await fill(before, "chair", "products")

    async with store.open() as after:
        found = await after.get(KEY, TEXT)

        assert found == (None if store.url == "memory://" else "chair")
        assert after.peek(KEY) == found, "what the second tier had, this process has from now on"


async def test_a_value_promoted_from_the_second_tier_can_still_be_purged(
    store: Store, anyio_backend: Any
) -> None:
    async with store.open() as before:
        await fill(before, "chair", "products")

    async with store.open() as after:
        await after.get(KEY, TEXT)
        await after.invalidate(tags=["products"])

        assert after.peek(KEY) is None
        assert await after.get(KEY, TEXT) is None


@pytest.mark.parametrize(
    "purge",
    [{"tags": ["product:7"]}, {"tags": "product:7"}, {"url": "/products"}, {"prefix": "/"}],
    ids=["tags", "one tag", "url", "prefix"],
)
async def test_a_purge_makes_a_miss_in_both_tiers(cache: OpenStore, purge: dict[str, Any]) -> None:
    await fill(cache, "chair", "product:7", "url:/products", "under:/")
    await fill(cache, "table", "product:8", key=b"other")

    await cache.invalidate(**purge)

    assert cache.peek(KEY) is None
    assert await cache.get(KEY, TEXT) is None
    assert await cache.get(b"other", TEXT) == "table", "nothing else is purged"


async def test_what_is_made_after_a_purge_is_kept(cache: OpenStore) -> None:
    await fill(cache, "old", "products")
    await cache.invalidate(tags=["products"])

    assert await fill(cache, "new", "products")

    assert await cache.get(KEY, TEXT) == "new"


async def test_a_purge_during_a_fill_prevents_storing(cache: OpenStore) -> None:
    tags = cache.collect("products")
    await cache.invalidate(tags=["products"])

    kept = cache.keep(KEY, "old", TEXT, ttl=60, tags=tags)
    await cache.share(KEY, "old", TEXT, ttl=60, tags=tags)

    assert not kept
    assert await cache.get(KEY, TEXT) is None


async def test_a_purge_between_keeping_and_sharing_leaves_nothing_to_serve(cache: OpenStore) -> None:
    tags = cache.collect("products")
    cache.keep(KEY, "old", TEXT, ttl=60, tags=tags)
    await cache.invalidate(tags=["products"])

    await cache.share(KEY, "old", TEXT, ttl=60, tags=tags)

    assert await cache.get(KEY, TEXT) is None


async def test_clear_forgets_everything_of_ours_and_nothing_else(
    store: Store, cache: OpenStore, request: pytest.FixtureRequest
) -> None:
    await fill(cache, "chair")

    with foreign_things(store, request):
        await cache.clear()

    assert await cache.get(KEY, TEXT) is None
    assert await fill(cache, "table")
    assert await cache.get(KEY, TEXT) == "table"


@contextmanager
def foreign_things(store: Store, request: pytest.FixtureRequest) -> Iterator[None]:
    """Put things of others, SAQ's and the limiter's too, where the store has its own; they must stay."""
    names = ["saq:job:default:1", "LIMITS:LIMITER/1/2", "sip:1:l:minute", "sip:1:cx"]
    if store.url == "memory://":
        yield
    elif store.url.startswith("file:"):
        (note := place_of(store.url)[0] / "note").write_text("mine")
        yield
        assert note.read_text() == "mine"
    elif store.url.startswith("memcached:"):
        server: Memcached = request.getfixturevalue("memcached")
        for name in names:
            assert server.ask(f"set {name} 0 0 1\r\n1\r\n".encode()) == b"STORED\r\n"
        yield
        assert server.ask(f"get {' '.join(names)}\r\n".encode(), b"END\r\n").count(b"VALUE") == len(names)
    else:
        with redis.Redis.from_url(store.url) as client:
            client.mset(dict.fromkeys(names, b"1"))
            yield
            assert client.mget(names) == [b"1"] * len(names)


async def test_delete_forgets_one_key(store: Store, cache: OpenStore) -> None:
    await fill(cache, "chair")
    await fill(cache, "table", key=b"other")

    cache.delete(KEY)

    assert cache.peek(KEY) is None
    with anyio.fail_after(5):
        while await cache.get(KEY, TEXT) is not None:  # the second tier forgets soon
            cache.delete(KEY)
            await anyio.sleep(0.01)
    assert await cache.get(b"other", TEXT) == "table"


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
async def test_no_lifetime_means_not_stored(cache: OpenStore, ttl: float) -> None:
    assert not await fill(cache, "chair", ttl=ttl)

    assert await cache.get(KEY, TEXT) is None


@pytest.mark.parametrize("ttl", [0.75, 86400 * 31.5, float("inf")])
async def test_any_lifetime_above_zero_will_do(store: Store, anyio_backend: Any, ttl: float) -> None:
    async with store.open() as before:
        assert await fill(before, "chair", ttl=ttl)
        assert before.peek(KEY) == "chair"

    async with store.open() as after:
        assert await after.get(KEY, TEXT) == (None if store.url == "memory://" else "chair")
        assert after.stats()["errors"] == 0


@pytest.mark.parametrize("value", ["", "".join(map(chr, range(0x250))) * 800], ids=["empty", "large"])
async def test_the_bytes_of_a_value_are_kept_as_they_are(
    store: Store, anyio_backend: Any, value: str
) -> None:
    async with store.open() as before:
        await fill(before, value)

    async with store.open() as after:
        assert await after.get(KEY, TEXT) == (None if store.url == "memory://" else value)


@pytest.mark.parametrize("value", [None, False, 0, "", []])
async def test_whatever_is_false_is_a_value(driven: Store, anyio_backend: Any, value: Any) -> None:
    async def make() -> Any:
        return value

    async def never() -> Any:
        raise AssertionError

    async with driven.open() as before:
        await before.get_or_set("key", make, ttl=60)

    async with driven.open() as after:
        assert await after.get_or_set("key", never, ttl=60) == value


async def test_a_value_that_there_is_no_room_for_is_no_outage(
    driven: Store, tmp_path: Path, anyio_backend: Any
) -> None:
    if driven.url.startswith("file:"):
        driven = Store(f"{driven.url}?max_bytes=2m", timeout=driven.timeout, runtime_dir=str(tmp_path))
    elif not driven.url.startswith("memcached:"):
        pytest.skip("Valkey takes whatever we send")
    telemetry = Telemetry()
    driven.register(telemetry)
    async with driven.open() as cache:
        for _ in range(6):  # one more than the breaker's
            assert await fill(cache, "x" * (2 << 20))
        await fill(cache, "chair", key=b"other")
        errors = cache.stats()["errors"]

    assert telemetry.counter("store.refused").value == 6
    assert errors == 0
    async with driven.open() as after:
        assert await after.get(KEY, TEXT) is None
        assert await after.get(b"other", TEXT) == "chair"


async def test_keys_of_any_bytes_and_length_stay_apart(driven: Store, anyio_backend: Any) -> None:
    long = b"GET http://testserver/" + b"a b\r\n\0_\xff" * 500
    keys = [long, long + b" ", long + b"_", long[:-1], long.replace(b" ", b"_"), b"", b" ", b"_", b"\0"]
    async with driven.open() as before:
        for number, key in enumerate(keys):
            await fill(before, f"value {number}", key=key)

    async with driven.open() as after:
        for number, key in enumerate(keys):
            assert await after.get(key, TEXT) == f"value {number}"


async def test_a_lifetime_ends_by_our_clock_however_long_the_server_keeps_it(
    driven: Store, anyio_backend: Any
) -> None:
    async with driven.open() as before:
        await fill(before, "chair", ttl=1000)

    async with driven.open() as after:
        after._clock = Clock(time() + 999)
        assert await after.get(KEY, TEXT) == "chair"

        after._clock = Clock(time() + 1001)
        assert await after.get(KEY, TEXT) is None


@pytest.mark.parametrize("damage", [b"", b"s1", b"garbage" * 100, "cut", "another's"])
async def test_bytes_that_are_damaged_or_anothers_are_a_miss(
    driven: Store, anyio_backend: Any, damage: bytes | str
) -> None:
    telemetry = Telemetry()
    driven.register(telemetry)
    async with driven.open() as cache:
        await fill(cache, "chair")
        await fill(cache, "table", key=b"other")
        second = cache._second
        assert second
        if isinstance(damage, str):
            whole = await second.get(cache._name(KEY if damage == "cut" else b"other"))
            assert whole
            damage = whole[:-1] if damage == "cut" else whole
        await second.set(cache._name(KEY), damage, 60)
        cache._memory.clear()

        assert await cache.get(KEY, TEXT) is None
        assert await cache.get(b"other", TEXT) == "table"
        assert cache.stats()["errors"] == 0

    assert telemetry.counter("store.errors", op="decode").value == 1


async def test_whoever_is_cancelled_leaves_no_answer_to_the_next(driven: Store, anyio_backend: Any) -> None:
    chance = random.Random(7)  # noqa: S311 (a schedule, not a secret)
    async with driven.open() as cache:
        second = cache._second
        assert second
        keys = [cache._name(b"%d" % number) for number in range(20)]
        for key in keys:
            await second.set(key, key.encode() * 100, 60)

        for _ in range(200):
            async with anyio.create_task_group() as tasks:
                for key in chance.sample(keys, 5):
                    tasks.start_soon(second.get, key)
                    tasks.start_soon(second._try, "set", second._backend.set, key, key.encode() * 100, 60.0)
                for _ in range(chance.randrange(8)):
                    await checkpoint()  # in the midst of it, each time at another point
                await anyio.sleep(chance.random() / 2000)
                tasks.cancel_scope.cancel()

        assert [await second.get(key) for key in keys * 3] == [key.encode() * 100 for key in keys * 3]
        assert cache.stats()["errors"] == 0


async def test_a_thousand_readers_at_once_are_all_answered(store: Store, anyio_backend: Any) -> None:
    async with store.open() as before:
        await fill(before, "chair")
    found = list[str | None]()

    async with store.open() as after:

        async def read() -> None:
            value = await after.get(KEY, TEXT)
            found.append(value)

        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(read)

        assert len(found) == 1000
        if store.url == "memory://":
            assert set(found) == {None}
        else:  # a link that a thousand readers keep from hearing the server makes misses
            assert set(found) - {None} == {"chair"}
        assert after.stats()["errors"] == 0
