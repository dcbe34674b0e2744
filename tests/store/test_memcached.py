"""What is peculiar to Memcached: whole seconds, dates, one connection for one caller."""

from __future__ import annotations

from math import inf
from pathlib import Path
from time import time
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from sipup_middleware.redis_pool import MAX_CONNECTIONS
from sipup_middleware.store import Store
from sipup_middleware.store.backend_memcached import _expiry, _Line
from tests.store.conftest import PATIENT
from tests.store.doubles import TEXT
from tests.store.memcached import Memcached

MONTH = 30 * 86400


@pytest.mark.parametrize(("ttl", "seconds"), [(0.001, 2), (1.0, 2), (59.5, 61), (MONTH - 1, MONTH)])
def test_a_lifetime_of_up_to_a_month_is_sent_in_whole_seconds_none_too_few(ttl: float, seconds: int) -> None:
    assert _expiry(ttl) == seconds


@pytest.mark.parametrize("ttl", [MONTH, MONTH + 0.5, 10 * 365 * 86400.0])
def test_a_longer_lifetime_is_sent_as_a_date(ttl: float) -> None:
    assert time() + ttl - 1 < _expiry(ttl) < min(time() + ttl + 10, 2**31)


@pytest.mark.live
async def test_a_thing_kept_for_longer_than_a_month_is_there(
    memcached: Memcached, tmp_path: Path, anyio_backend: Any
) -> None:
    store = Store(memcached.url, timeout=PATIENT, runtime_dir=str(tmp_path))
    async with store.open() as cache:
        for ttl in (0.9, MONTH - 0.5, MONTH + 1, 400 * 86400, inf):
            await cache.share(b"%f" % ttl, "chair", TEXT, ttl=ttl, tags=cache.collect())

        for ttl in (MONTH - 0.5, MONTH + 1, 400 * 86400, inf):
            assert await cache.get(b"%f" % ttl, TEXT) == "chair"


@pytest.mark.live
async def test_more_readers_than_connections_wait_their_turn(
    own_memcached: Memcached, tmp_path: Path
) -> None:
    store = Store(own_memcached.url, timeout=PATIENT, runtime_dir=str(tmp_path))
    async with store.open() as cache:
        async with anyio.create_task_group() as tasks:
            for number in range(500):
                tasks.start_soon(cache.get, b"%d" % number, TEXT)
        said = await anyio.to_thread.run_sync(own_memcached.ask, b"stats\r\n", b"END\r\n")

    dialled = next(int(line.split()[2]) for line in said.splitlines() if b" total_connections " in line)
    assert cache.stats()["errors"] == 0
    assert dialled <= MAX_CONNECTIONS + 5, "its own, the fixture's and this one's"


@pytest.mark.live
async def test_a_connection_that_ended_while_it_was_idle_is_dialled_anew(
    own_memcached: Memcached, tmp_path: Path
) -> None:
    store = Store(own_memcached.url, timeout=PATIENT, runtime_dir=str(tmp_path))
    async with store.open() as cache:
        await cache.get(b"key", TEXT)
        await anyio.to_thread.run_sync(own_memcached.restart)
        await anyio.sleep(0.05)  # the end of the old connection arrives

        assert await cache.get(b"key", TEXT) is None
        assert cache.stats()["errors"] == 0


@pytest.mark.live
async def test_a_server_that_hangs_up_amid_an_answer_is_an_outage_and_not_an_endless_loop(
    tmp_path: Path, anyio_backend: Any
) -> None:
    async def hang_up(stream: Any) -> None:
        async with stream:
            await stream.receive()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 (no query of Django's)
    store = Store(f"memcached://127.0.0.1:{port}", timeout=PATIENT, runtime_dir=str(tmp_path))
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, hang_up)
        async with store.open() as cache:
            with anyio.fail_after(20):
                await cache.share(b"key", "chair", TEXT, ttl=60, tags=cache.collect())
                assert await cache.get(b"key", TEXT) is None

            assert cache.stats()["errors"] == 2
        tasks.cancel_scope.cancel()


async def test_a_line_that_was_never_dialled_is_cleared_in_peace(anyio_backend: Any) -> None:
    line = _Line("127.0.0.1", 1, minsize=1, maxsize=1)

    await line.clear()

    assert line.size() == 0
