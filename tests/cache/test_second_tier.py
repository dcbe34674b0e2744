"""With a real Valkey behind the store: it helps while it is there, and is not missed when it is not."""

from __future__ import annotations

from pathlib import Path
from secrets import token_hex

import anyio
import pytest

from sipup_middleware.cache import ResponseCache, Rule
from sipup_middleware.services import Services
from sipup_middleware.store import Store
from sipup_middleware.telemetry import Telemetry
from tests.asgi import get, lifespan
from tests.cache.apps import FRESH, Clock, Counting, Origin, cached, timed

pytestmark = pytest.mark.live


async def test_a_process_answers_with_what_another_stored(redis_url: str, tmp_path: Path) -> None:
    app = Counting(headers=[("X-A", "1"), ("X-A", "caf\xe9"), FRESH, ("vary", "accept"), ("etag", '"a"')])
    one, other = (cached(app, store=Store(redis_url, runtime_dir=str(tmp_path), timeout=5)) for _ in range(2))
    path, asked = f"/{token_hex()}", [("accept", "a")]  # the server is shared, and keeps what others stored

    async with lifespan(one), lifespan(other):
        first = await get(one, path, headers=asked)
        second = await get(other, path, headers=asked)
        third = await get(other, path, headers=asked)

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
    product = token_hex()

    async with lifespan(first), lifespan(second):
        await get(first, f"/products/{product}")
        await get(second, f"/products/{product}")
        await one.store.handle().invalidate(tags=[f"product:{product}"])
        bodies = [(await get(wrapped, f"/products/{product}")).body for wrapped in (second, first)]

    assert bodies == [b"2", b"2"]


async def test_what_another_process_confirmed_need_not_be_confirmed_again(
    redis_url: str, tmp_path: Path
) -> None:
    path, etag = f"/{token_hex()}", ("etag", '"a"')
    app, clock = Origin([(200, [FRESH, etag], b"old"), (304, [etag], b"")]), Clock()
    one, other = (
        timed(app, clock, store=Store(redis_url, runtime_dir=str(tmp_path), timeout=5)) for _ in range(2)
    )

    async with lifespan(one), lifespan(other):
        for each in (one, other):
            await get(each, path)
        clock.now += 61
        replies = [await get(each, path) for each in (one, other)]

    assert [reply.body for reply in replies] == [b"old"] * 2
    assert len(app.scopes) == 2
    assert replies[1].headers["cache-status"] == "sipup; hit; ttl=60"


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
