"""What every store promises, whatever is behind it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
import redis

from sipup_middleware.store import OpenStore, Store
from tests.store.doubles import TEXT

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


async def test_clear_forgets_everything_of_ours_and_nothing_else(store: Store, cache: OpenStore) -> None:
    await fill(cache, "chair")
    foreign = ["saq:job:default:1", "LIMITS:LIMITER/1/2", "sip:1:l:minute", "sip:1:cx"]
    client = None if store.url == "memory://" else redis.Redis.from_url(store.url)
    if client:
        client.mset(dict.fromkeys(foreign, b"1"))

    await cache.clear()

    assert await cache.get(KEY, TEXT) is None
    assert await fill(cache, "table")
    assert await cache.get(KEY, TEXT) == "table"
    if client:
        assert client.mget(foreign) == [b"1"] * len(foreign)
        client.close()


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


async def test_the_bytes_of_a_value_are_kept_as_they_are(store: Store, anyio_backend: Any) -> None:
    value = "".join(map(chr, range(0x250))) * 4000
    async with store.open() as before:
        await fill(before, value)

    async with store.open() as after:
        assert await after.get(KEY, TEXT) == (None if store.url == "memory://" else value)


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

        assert set(found) == {None if store.url == "memory://" else "chair"}
        assert after.stats()["errors"] == 0
