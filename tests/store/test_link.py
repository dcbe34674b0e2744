"""Two hosts, one Valkey: what one stores the other uses, and what one purges the other does not serve."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from sipup_middleware.services import Valkey
from sipup_middleware.store import OpenStore, Store
from tests.store.conftest import PATIENT
from tests.store.doubles import TEXT
from tests.store.linked import KEY, deafen, fill, heard, hosts, listener, until

pytestmark = pytest.mark.live


@pytest.fixture
async def two(anyio_backend: Any, redis_url: str, tmp_path: Path) -> AsyncIterator[list[OpenStore]]:
    async with hosts(redis_url, tmp_path / "a", tmp_path / "b") as opened:
        yield opened


@contextmanager
def commands(url: str) -> Iterator[list[str]]:
    """Collect what the server is asked, but by listeners and to begin a connection."""
    told = list[str]()
    with redis.Redis.from_url(url) as client, client.monitor() as monitor:
        yield told
        client.echo("over")
        for row in monitor.listen():
            name = row["command"].split()[0].upper()
            if name == "ECHO":
                return
            if row["client_type"] != "lua" and name not in {"XREAD", "HMGET", "CLIENT"}:
                told.append(name)


async def test_what_one_host_stored_another_serves(two: list[OpenStore]) -> None:
    one, other = two
    await fill(one, "chair", "products")

    assert await other.get(KEY, TEXT) == "chair"
    assert other.peek(KEY) == "chair", "from now on it has it in process"


@pytest.mark.parametrize(
    "purge", [{"tags": ["product:7"]}, {"url": "/products"}, {"prefix": "/"}], ids=["tags", "url", "prefix"]
)
async def test_a_purge_on_one_host_is_a_miss_on_the_other(
    two: list[OpenStore], purge: dict[str, Any]
) -> None:
    one, other = two
    await fill(one, "chair", "product:7", "url:/products", "under:/")
    await fill(one, "table", "product:8", key=b"else")
    assert await other.get(KEY, TEXT) == "chair"
    assert await other.get(b"else", TEXT) == "table"

    await one.invalidate(**purge)

    await until(lambda: other.peek(KEY) is None)
    assert await other.get(KEY, TEXT) is None
    assert await one.get(KEY, TEXT) is None
    assert other.peek(b"else") == "table", "nothing else is purged"


async def test_clear_on_one_host_is_a_miss_of_everything_on_the_other(two: list[OpenStore]) -> None:
    one, other = two
    await fill(one, "chair", "products")
    await fill(one, "table", key=b"untagged")
    assert await other.get(KEY, TEXT) == "chair"
    assert await other.get(b"untagged", TEXT) == "table"

    await one.clear()

    await until(lambda: other.peek(KEY) is None and other.peek(b"untagged") is None)
    assert await one.get(KEY, TEXT) is None
    assert await other.get(KEY, TEXT) is None


async def test_what_is_stored_after_a_purge_is_served_on_both(two: list[OpenStore]) -> None:
    one, other = two
    await fill(one, "old", "products")
    await one.invalidate(tags=["products"])
    await until(lambda: listener(other).number == 1)

    assert await fill(other, "new", "products")

    assert await one.get(KEY, TEXT) == "new"


async def test_a_purge_on_another_host_during_a_fill_prevents_storing_also_under_a_late_tag(
    two: list[OpenStore],
) -> None:
    one, other = two
    early, late = other.collect("products"), other.collect()
    await one.invalidate(tags=["products"])
    await until(lambda: listener(other).number == 1)

    late.add("products")

    for tags in (early, late):
        assert not other.keep(KEY, "old", TEXT, ttl=60, tags=tags)
        await other.share(KEY, "old", TEXT, ttl=60, tags=tags)
    assert await one.get(KEY, TEXT) is None


async def test_a_purge_that_was_not_heard_of_yet_prevents_sharing(two: list[OpenStore]) -> None:
    one, other = two
    tags = other.collect("products")
    await deafen(other)
    await one.invalidate(tags=["products"])
    listener(other).trusted_until += 60

    await other.share(KEY, "old", TEXT, ttl=60, tags=tags)

    assert await one.get(KEY, TEXT) is None


async def test_while_a_write_is_pending_on_one_host_the_other_neither_serves_nor_stores(
    two: list[OpenStore],
) -> None:
    one, other = two
    await fill(one, "old", "products")
    assert await other.get(KEY, TEXT) == "old"

    async with one.purging(tags=["products"]):
        await until(lambda: other.peek(KEY) is None)
        assert not await fill(other, "old", "products")
        assert await one.get(KEY, TEXT) is None
        assert await other.get(KEY, TEXT) is None

    await until(lambda: listener(other).number == 2)
    assert await fill(other, "new", "products")
    assert await one.get(KEY, TEXT) == "new"


async def test_of_two_writers_the_one_that_ends_first_does_not_end_the_other(two: list[OpenStore]) -> None:
    one, other = two

    async with one.purging(tags=["products"]):
        await until(lambda: listener(other).number == 1)
        async with other.purging(tags=["products"]):
            pass
        assert not await fill(other, "old", "products")
        assert await one.get(KEY, TEXT) is None

    await until(lambda: listener(other).number == 4)
    assert await fill(other, "new", "products")


async def test_a_writer_that_died_is_given_up(two: list[OpenStore], redis_url: str) -> None:
    one, other = two
    assert one._link
    one._stamps.pend(one._stamps.cells_of(["products"]))
    await one._link.announce(["products"], "token")  # and then it dies
    await until(lambda: listener(other).number == 1)
    assert not await fill(other, "old", "products")

    with redis.Redis.from_url(redis_url) as client:
        (pending,) = client.scan_iter("sip:1:t:*:p")
        assert 9_000 < client.pttl(pending) <= 10_000
        for token, _ in client.zrange(pending, 0, -1, withscores=True):
            client.zadd(pending, {token: 1})
    later = time.monotonic() + 10
    for cache in two:
        cache._stamps._clock = lambda: later + time.monotonic() / 1e6

    assert await fill(other, "new", "products")
    assert await one.get(KEY, TEXT) == "new"


async def test_the_other_workers_of_the_writers_host_miss_at_once(redis_url: str, tmp_path: Path) -> None:
    async with hosts(redis_url, tmp_path, tmp_path, tmp_path / "b") as (one, colleague, other):
        for number in range(20):
            await fill(other, f"old {number}", "products")
            assert await colleague.get(KEY, TEXT) == f"old {number}"

            await one.invalidate(tags=["products"])

            assert colleague.peek(KEY) is None
            assert await colleague.get(KEY, TEXT) is None
            await until(lambda: other.peek(KEY) is None)
            await heard(one, other)


async def test_a_hit_in_the_second_tier_takes_two_commands_and_so_does_sharing_but_a_purge_one(
    own_valkey: Valkey, tmp_path: Path
) -> None:
    tags = [f"product:{number}" for number in range(30)]
    async with hosts(own_valkey.url, tmp_path / "a", tmp_path / "b") as (one, other):
        await fill(one, "x", *tags, key=b"warm")
        await one.invalidate(tags=tags)
        await heard(one, other)
        with commands(own_valkey.url) as sharing:
            await fill(one, "chair", *tags)
        with commands(own_valkey.url) as hit:
            assert await other.get(KEY, TEXT) == "chair"
        with commands(own_valkey.url) as warm:
            assert await other.get(KEY, TEXT) == "chair"
        with commands(own_valkey.url) as purge:
            await one.invalidate(tags=tags)

    assert sharing == ["EVALSHA", "PSETEX"]
    assert hit == ["GET", "MGET"]
    assert warm == []
    assert purge == ["EVALSHA"]


async def test_an_evicted_stamp_is_a_purge_too_many_and_later_ones_are_not_lost(
    two: list[OpenStore], redis_url: str
) -> None:
    one, other = two
    await fill(one, "chair", "products")
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter("sip:1:t:[0-9a-f]*"):
            client.delete(key)

    assert await other.get(KEY, TEXT) is None
    assert one.peek(KEY) == "chair"

    await fill(one, "table", "products", key=b"else")
    assert await other.get(b"else", TEXT) == "table"
    await other.invalidate(tags=["products"])
    await until(lambda: one.peek(KEY) is None and one.peek(b"else") is None)


async def test_no_tag_is_told_in_the_clear(two: list[OpenStore], redis_url: str) -> None:
    one, _ = two
    await fill(one, "chair", "user:alice@example.com")
    async with one.purging(tags=["user:alice@example.com"]):
        pass
    await one.invalidate(tags=["user:alice@example.com"])

    with redis.Redis.from_url(redis_url) as client:
        keys = list(client.scan_iter("sip:1:*"))
        told = [*keys, *(client.dump(key) or b"" for key in keys)]

    assert keys
    assert not any(b"alice" in each for each in told)


@pytest.mark.parametrize(
    ("digests", "stamps"),
    [
        ([], []),
        (["00" * 16], []),
        (["00" * 16], [""]),
        (["11" * 16], ["a"]),
        (["zz"], ["a"]),
        ([None], ["a"]),
        ([7], [7]),
    ],
)
async def test_what_is_no_digest_and_stamp_is_refused(
    two: list[OpenStore], digests: list[Any], stamps: list[Any]
) -> None:
    one, _ = two
    assert one._link

    with pytest.raises((ValueError, TypeError, LookupError)):
        await one._link.seal(digests, stamps, one._stamps.now())


async def test_a_process_without_a_directory_is_a_host_of_its_own(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, anyio_backend: Any
) -> None:
    monkeypatch.delenv("SIPUP_RUNTIME_DIR", raising=False)
    one, other = (Store(redis_url, timeout=PATIENT) for _ in range(2))
    async with one.open() as first, other.open() as second:
        await fill(first, "chair", "products")
        assert await second.get(KEY, TEXT) == "chair"

        await second.invalidate(tags=["products"])

        await until(lambda: first.peek(KEY) is None)
        assert await first.get(KEY, TEXT) is None
