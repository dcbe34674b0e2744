"""A second tier that is killed amid load costs misses, never an answer (CWE-636)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from sipup_middleware.services import run_services
from sipup_middleware.services.server import Server
from sipup_middleware.store import Store
from tests.asgi import get, lifespan
from tests.cache.apps import FRESH, Counting, cached
from tests.store.memcached import run_memcached

pytestmark = pytest.mark.live


@pytest.fixture(params=["valkey", "memcached"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of this test's own, to kill."""
    if request.param == "memcached":
        with run_memcached() as memcached:
            yield memcached
        return
    with run_services(postgres=False, environ={}) as services:
        assert services.valkey
        yield services.valkey


async def test_30_who_asks_while_a_server_dies_and_comes_back_is_answered(
    server: Server, tmp_path: Path
) -> None:
    statuses = Counter[int]()
    store = Store(server.url, runtime_dir=str(tmp_path))
    wrapped = cached(Counting(headers=[FRESH, ("vary", "accept")]), store=store)

    async def client(name: int) -> None:
        for number in range(1_000_000):
            reply = await get(wrapped, f"/{name}/{number % 50}", headers=[("accept", str(number % 3))])
            assert reply.body
            statuses[reply.status] += 1
            if not number % 20:
                store.handle()._memory.clear()
            await checkpoint()

    async def until_answered(more: int) -> None:
        target = statuses.total() + more
        with anyio.fail_after(120):
            while statuses.total() < target:
                await checkpoint()

    async with lifespan(wrapped), anyio.create_task_group() as clients:
        for name in range(8):
            clients.start_soon(client, name)
        await until_answered(300)
        await anyio.to_thread.run_sync(server.kill)
        await until_answered(300)
        await anyio.to_thread.run_sync(server.start)
        await until_answered(300)
        clients.cancel_scope.cancel()

    assert {*statuses} == {200}
