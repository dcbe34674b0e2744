"""With a real Valkey behind the store: it helps while it is there, and is not missed when it is not."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from sipup_middleware.cache import ResponseCache, Rule
from sipup_middleware.services import Services
from sipup_middleware.store import Store
from sipup_middleware.telemetry import Telemetry
from tests.asgi import get, lifespan
from tests.cache.apps import FRESH, Counting, cached

pytestmark = pytest.mark.live


async def test_a_process_answers_with_what_another_stored(redis_url: str, tmp_path: Path) -> None:
    app = Counting(headers=[("X-A", "1"), ("X-A", "caf\xe9"), FRESH, ("vary", "accept"), ("etag", '"a"')])
    one, other = (cached(app, store=Store(redis_url, runtime_dir=str(tmp_path), timeout=5)) for _ in range(2))
    asked = [("accept", "a")]

    async with lifespan(one), lifespan(other):
        first = await get(one, headers=asked)
        second = await get(other, headers=asked)
        third = await get(other, headers=asked)

    assert app.calls == 1
    assert second.raw_headers[:5] == first.raw_headers[:5]
    assert [reply.body for reply in (second, third)] == [b"1", b"1"]
    assert second.headers["cache-status"].startswith("sipup; hit; ttl=")


async def test_a_purge_in_one_process_reaches_the_other(redis_url: str, tmp_path: Path) -> None:
    app = Counting(headers=())
    one, other = (
        ResponseCache(
            rules=(Rule("/products/{id}", ttl=60, tags=("product:{id}",)),),
            store=Store(redis_url, runtime_dir=str(tmp_path), timeout=5),
        )
        for _ in range(2)
    )
    first, second = one(app), other(app)

    async with lifespan(first), lifespan(second):
        await get(first, "/products/7")
        await get(second, "/products/7")
        await one.store.handle().invalidate(tags=["product:7"])
        bodies = [(await get(wrapped, "/products/7")).body for wrapped in (second, first)]

    assert bodies == [b"2", b"2"]


async def test_when_its_server_dies_answers_are_served_and_the_loss_is_counted(
    own_services: Services,
) -> None:
    assert own_services.redis_url
    assert own_services.valkey
    app, telemetry = Counting(), Telemetry()
    wrapped = cached(app, store=Store(own_services.redis_url), telemetry=telemetry)

    async with lifespan(wrapped):
        await get(wrapped, "/a")
        await anyio.to_thread.run_sync(own_services.valkey.kill)
        replies = [await get(wrapped, path) for path in ("/a", "/b", "/b", "/c")]

    assert [reply.body for reply in replies] == [b"1", b"2", b"2", b"3"]
    assert sum(counter.value for _, counter in telemetry.counters("store.errors")) > 0
