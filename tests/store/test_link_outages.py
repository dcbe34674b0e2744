"""Whatever dies, freezes or forgets: after a second at most no host serves what another purged."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import redis

from sipup_middleware.services import Valkey, run_services
from sipup_middleware.store import OpenStore, Store
from sipup_middleware.store.listener import uptime
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact, Telemetry
from tests.store.conftest import PATIENT
from tests.store.doubles import TEXT
from tests.store.linked import KEY, deafen, fill, heard, hosts, listener, until

pytestmark = pytest.mark.live


@pytest.fixture
async def two(anyio_backend: Any, own_valkey: Valkey, tmp_path: Path) -> AsyncIterator[list[OpenStore]]:
    async with hosts(own_valkey.url, tmp_path / "a", tmp_path / "b") as opened:
        yield opened


async def test_while_the_link_is_down_what_has_tags_is_neither_served_nor_stored(
    two: list[OpenStore], own_valkey: Valkey
) -> None:
    one, _ = two
    facts = list[Fact]()
    one.register(telemetry := Telemetry([facts.append]))
    await fill(one, "chair", "products")
    await fill(one, "table", key=b"untagged")

    with frozen(own_valkey):
        await until(lambda: BackendLost("store:link", "TimeoutError") in facts)
        assert one.peek(KEY) is None
        assert one.peek(b"untagged") == "table"
        assert not await fill(one, "new", "products", key=b"new")
        assert one.stats()["link"] == 0

    await until(lambda: one.stats()["link"])
    assert one.peek(KEY) == "chair", "nothing was missed, so it is served again"
    assert one.peek(b"new") is None
    assert [fact for fact in facts if getattr(fact, "layer", "") == "store:link"] == [
        BackendLost("store:link", "TimeoutError"),
        BackendRestored("store:link"),
    ]
    assert list(telemetry.gauges("store.link")) == [({}, 1.0)]


async def test_a_purge_that_the_server_did_not_hear_is_told_when_it_is_back(
    two: list[OpenStore], own_valkey: Valkey
) -> None:
    one, other = two
    await fill(one, "old", "products", "rest")
    await fill(one, "stays", "else", key=b"else")
    assert await other.get(KEY, TEXT) == "old"

    with frozen(own_valkey), anyio.fail_after(20):
        await until(lambda: not one.stats()["link"])
        await one.invalidate(tags=["products"])
        async with one.purging(tags=["rest"]):
            pass

    await until(lambda: one.stats()["link"] and other.stats()["link"])
    await until(lambda: one.stats()["replayed"] == 2)
    await heard(one, other)
    assert other.peek(KEY) is None
    assert await other.get(KEY, TEXT) is None
    assert await one.get(KEY, TEXT) is None
    assert await one.get(b"else", TEXT) == "stays"
    assert await fill(one, "new", "products")
    assert await other.get(KEY, TEXT) == "new"


async def test_what_the_server_does_not_know_yet_is_not_fetched_from_it_by_a_colleague(
    own_valkey: Valkey, tmp_path: Path, anyio_backend: Any
) -> None:
    async with hosts(own_valkey.url, tmp_path, tmp_path) as (one, colleague):
        await fill(one, "old", "products")
        listener(one).trusted_until = 0  # as if its own link alone were down
        await deafen(one)

        await one.invalidate(tags=["products"])

        assert colleague.stats()["link"]
        assert await colleague.get(KEY, TEXT) is None
        assert not await fill(colleague, "old", "products")


async def test_where_a_process_dies_in_debt_a_colleague_pays(
    own_valkey: Valkey, tmp_path: Path, anyio_backend: Any
) -> None:
    async with hosts(own_valkey.url, tmp_path, tmp_path, tmp_path / "b") as (one, colleague, other):
        await fill(one, "old", "products")
        assert await other.get(KEY, TEXT) == "old"
        listener(one).trusted_until = 0
        await deafen(one)
        await one.invalidate(tags=["products"])
        await until(lambda: listener(one).debts.digests)
        listener(one).debts.digests.clear()  # and dies

        later = time.monotonic() + 10
        colleague._stamps._clock = lambda: later + time.monotonic() / 1e6

        await until(lambda: other.peek(KEY) is None)
        assert await other.get(KEY, TEXT) is None


async def test_a_killed_server_that_comes_back_empty_makes_nothing_stale(
    two: list[OpenStore], own_valkey: Valkey
) -> None:
    one, other = two
    await fill(one, "old", "products")
    assert await other.get(KEY, TEXT) == "old"

    await anyio.to_thread.run_sync(own_valkey.kill)
    await one.invalidate(tags=["products"])
    await anyio.to_thread.run_sync(own_valkey.start)

    await until(lambda: other.peek(KEY) is None)
    await until(lambda: one.stats()["link"] and other.stats()["link"])
    await until(lambda: listener(one).name == listener(other).name)
    assert await one.get(KEY, TEXT) is None
    assert await other.get(KEY, TEXT) is None
    await heard(one, other)
    assert await fill(one, "new", "products")
    assert await other.get(KEY, TEXT) == "new"
    await other.invalidate(tags=["products"])
    await until(lambda: one.peek(KEY) is None)


@pytest.fixture
def durable_valkey() -> Iterator[Valkey]:
    """A Valkey that has its data when it is started anew."""
    settings = {"appendonly": "yes", "appendfsync": "always"}
    with run_services(postgres=False, environ={}, valkey_settings=settings) as running:
        assert running.valkey
        yield running.valkey


async def test_a_server_that_comes_back_with_what_it_knew_is_not_believed(
    durable_valkey: Valkey, tmp_path: Path, anyio_backend: Any
) -> None:
    async with hosts(durable_valkey.url, tmp_path / "a") as (one,):
        await fill(one, "old", "products")
        one._memory.clear()
        assert await one.get(KEY, TEXT) == "old"
        before = listener(one)._run

        await anyio.to_thread.run_sync(durable_valkey.kill)
        await anyio.to_thread.run_sync(durable_valkey.start)
        await until(lambda: listener(one)._run != before and one.stats()["link"])

        with redis.Redis.from_url(durable_valkey.url) as client:
            assert client.exists(f"sip:1:c:{one._name(KEY)}"), "the entry is there"
        assert one.peek(KEY) is None
        assert await one.get(KEY, TEXT) is None


async def test_a_flushed_server_makes_nothing_stale(two: list[OpenStore], own_valkey: Valkey) -> None:
    one, other = two
    await fill(one, "old", "products")
    assert await other.get(KEY, TEXT) == "old"

    with redis.Redis.from_url(own_valkey.url) as client:
        client.flushall()
    await one.invalidate(tags=["products"])

    await until(lambda: other.peek(KEY) is None)
    await until(lambda: listener(one).name == listener(other).name)
    assert await one.get(KEY, TEXT) is None
    await until(lambda: not listener(one).debts.digests)
    await heard(one, other)
    assert await fill(one, "new", "products")
    assert await other.get(KEY, TEXT) == "new"


@pytest.mark.parametrize("way", ["trimmed", "log lost", "log spoilt"])
async def test_messages_that_are_gone_before_they_were_heard_end_all_that_was_stored(
    two: list[OpenStore], own_valkey: Valkey, way: str
) -> None:
    one, other = two
    await fill(one, "old", "products")
    await fill(one, "table", "else", key=b"else")
    assert await other.get(KEY, TEXT) == "old"
    await deafen(other)

    with redis.Redis.from_url(own_valkey.url) as client:
        await one.invalidate(tags=["products"])
        if way == "trimmed":
            await one.invalidate(tags=["something"])
            client.xtrim("sip:1:t:!log", maxlen=1, approximate=False)
        else:
            client.delete("sip:1:t:!log")
        if way == "log spoilt":
            client.xadd("sip:1:t:!log", {"by": "somebody"})
    assert other._link
    other._link.begin()

    await until(lambda: other.peek(KEY) is None)
    listener(other).trusted_until = 0
    if way == "log spoilt":
        await one.invalidate(tags=["something"])
        await until(lambda: not listener(one).debts.digests)
    await until(lambda: other.stats()["link"] and one.stats()["link"])
    assert other.peek(KEY) is None
    assert await other.get(KEY, TEXT) is None
    await until(lambda: listener(one).name == listener(other).name)
    await fill(one, "new", "products")
    await until(lambda: not listener(one).debts.digests)


async def test_a_server_that_is_full_is_no_link(two: list[OpenStore], own_valkey: Valkey) -> None:
    one, other = two
    await fill(one, "old", "products")
    assert await other.get(KEY, TEXT) == "old"
    with redis.Redis.from_url(own_valkey.url) as client:
        client.config_set("maxmemory", 1)

        await one.invalidate(tags=["products"])

        await until(lambda: other.peek(KEY) is None)
        client.config_set("maxmemory", 0)
    await until(lambda: other.stats()["link"] and one.stats()["link"])
    assert await other.get(KEY, TEXT) is None
    assert other.peek(KEY) is None


async def test_a_host_that_was_frozen_serves_nothing_before_it_has_caught_up(two: list[OpenStore]) -> None:
    one, other = two
    await fill(one, "old", "products")
    assert await other.get(KEY, TEXT) == "old"
    await deafen(other)
    await one.invalidate(tags=["products"])

    listener(other).clock = lambda: uptime() + 2

    assert other.peek(KEY) is None
    assert not await fill(other, "old", "products")
    assert await other.get(KEY, TEXT) is None


async def test_what_is_told_as_a_store_closes_is_not_lost(own_valkey: Valkey, tmp_path: Path) -> None:
    async with hosts(own_valkey.url, tmp_path / "b") as (other,):
        async with hosts(own_valkey.url, tmp_path / "a") as (one,):
            await fill(one, "old", "products")
            assert await other.get(KEY, TEXT) == "old"
            listener(one).trusted_until = 0
            await deafen(one)
            await one.invalidate(tags=["products"])

        await until(lambda: other.peek(KEY) is None)
        assert await other.get(KEY, TEXT) is None


async def test_a_store_that_was_never_linked_keeps_nothing_and_tells_all_when_it_is(
    own_valkey: Valkey, tmp_path: Path, anyio_backend: Any
) -> None:
    async with hosts(own_valkey.url, tmp_path / "b") as (other,):
        await fill(other, "old", "products")
        with frozen(own_valkey):
            lonely = Store(own_valkey.url, timeout=0.05)
            async with lonely.open() as late:
                assert not await fill(late, "x")
                await late.invalidate(tags=["products"])
                signal_on(own_valkey, signal.SIGCONT)
                await until(lambda: late.stats()["replayed"])

        await until(lambda: other.stats()["link"])
        await until(lambda: other.peek(KEY) is None)
        assert await other.get(KEY, TEXT) is None


CHILD = """
import sys
from sipup_middleware.store import Store
from tests.store.doubles import TEXT
import anyio

async def main():
    async with Store(sys.argv[1], timeout=5, runtime_dir=sys.argv[2]).open() as cache:
        while order := (await anyio.to_thread.run_sync(sys.stdin.readline)).strip():
            key = b"GET /products"
            print(await cache.get(key, TEXT) if order == "get" else cache.peek(key), flush=True)

anyio.run(main)
"""


def test_a_process_that_was_stopped_serves_nothing_old_when_it_goes_on(
    own_valkey: Valkey, tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, own_valkey.url, str(tmp_path / "a")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    assert child.stdout

    def tell(order: str) -> None:
        assert child.stdin
        child.stdin.write(f"{order}\n")
        child.stdin.flush()

    async def purge_meanwhile() -> None:
        assert child.stdout
        async with Store(own_valkey.url, timeout=PATIENT, runtime_dir=str(tmp_path / "b")).open() as cache:
            await fill(cache, "old", "products")
            tell("get")
            assert await anyio.to_thread.run_sync(child.stdout.readline) == "old\n"
            child.send_signal(signal.SIGSTOP)
            await cache.invalidate(tags=["products"])
            tell("peek")
            await anyio.sleep(1.1)  # as long as it may serve it
            child.send_signal(signal.SIGCONT)
            assert await anyio.to_thread.run_sync(child.stdout.readline) == "None\n"

    anyio.run(purge_meanwhile)
    child.communicate()
    assert child.returncode == 0


@contextmanager
def frozen(server: Valkey) -> Iterator[None]:
    signal_on(server, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_on(server, signal.SIGCONT)


def signal_on(server: Valkey, number: signal.Signals) -> None:
    server._nest.signal(server._name, number)
