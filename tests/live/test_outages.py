"""PostgreSQL restarted and Valkey killed under load: what the clients of a whole stack see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sipup_middleware import Database, Health, Limit, RateLimit, ResponseCache, Rule, Stack, Store, by_header
from sipup_middleware.services import Services
from tests.asgi import Exchange, get, lifespan

pytestmark = pytest.mark.live
CLIENTS = 8


async def clock(request: Request) -> JSONResponse:
    return JSONResponse({"now": str(await request.state.sipup.db.fetchval("SELECT now()"))})


def wrapped(services: Services, *, limit: str = "1000000/minute") -> Starlette:
    assert services.database_url
    assert services.redis_url
    app = Starlette(routes=[Route("/cached/{id}", clock), Route("/fresh", clock)])
    app.add_middleware(
        Stack(
            Health(),
            RateLimit(
                limits=(Limit(limit, key=by_header("x-client"), name="client"),), storage=services.redis_url
            ),
            ResponseCache(store=Store(services.redis_url), rules=(Rule("/cached/{id}", ttl=60),)),
            Database(services.database_url),
            log=False,
        )
    )
    return app


@dataclass
class Load:
    """Clients that ask without pause, and what they were told."""

    app: Starlette
    paths: tuple[str, ...]
    replies: list[Exchange] = field(default_factory=list)

    async def one_client(self, name: str) -> None:
        while True:
            for path in self.paths:
                self.replies.append(await get(self.app, path, headers=[("x-client", name)]))
                await anyio.sleep(0.01)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            for number in range(CLIENTS):
                tasks.start_soon(self.one_client, str(number))
            yield
            tasks.cancel_scope.cancel()

    async def until(self, count: int) -> None:
        """Wait until *count* more requests were answered."""
        target = len(self.replies) + count
        await poll(lambda: _now(len(self.replies) >= target), within=60)

    async def until_served(self) -> None:
        await poll(lambda: _now(self.replies[-1].status == 200), within=10)


async def ready(app: Starlette) -> tuple[int, str]:
    reply = await get(app, "/_health/ready", client="127.0.0.1")
    return reply.status, reply.json()["status"]


async def until_ready(app: Starlette, status: int, word: str) -> None:
    async def is_so() -> bool:
        return await ready(app) == (status, word)

    await poll(is_so, within=30)


async def poll(holds: Callable[[], Awaitable[bool]], *, within: float) -> None:
    with anyio.fail_after(within):
        while not await holds():  # noqa: ASYNC110 (what a client sees has no event to wait for)
            await anyio.sleep(0.02)


async def _now(value: bool) -> bool:  # noqa: FBT001 (one word is its meaning)
    return value


async def test_a_restarted_postgres_costs_503_meanwhile_and_nothing_after(own_services: Services) -> None:
    app = wrapped(own_services)
    load = Load(app, ("/fresh",))
    assert own_services.postgres

    async with lifespan(app), load.running():
        await load.until(100)
        await anyio.to_thread.run_sync(own_services.postgres.stop)
        await load.until(100)
        assert (await ready(app))[0] == 503
        await anyio.to_thread.run_sync(own_services.postgres.start)
        await load.until_served()
        await anyio.sleep(1)
        during = len(load.replies)
        await load.until(200)
        await until_ready(app, 200, "pass")

    assert {reply.status for reply in load.replies[:during]} == {200, 503}
    refused = [reply for reply in load.replies[:during] if reply.status == 503]
    assert {reply.headers["content-type"] for reply in refused} == {"application/problem+json"}
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
    assert {reply.status for reply in load.replies[during:]} == {200}


async def test_a_fast_restart_under_load_is_an_outage_and_no_other_error(own_services: Services) -> None:
    app = wrapped(own_services)
    load = Load(app, ("/fresh",))
    assert own_services.postgres

    async with lifespan(app), load.running():
        await load.until(100)
        await anyio.to_thread.run_sync(own_services.postgres.restart)
        await load.until_served()
        await anyio.sleep(1)
        during = len(load.replies)
        await load.until(200)

    assert {reply.status for reply in load.replies[:during]} <= {200, 503}
    assert {reply.status for reply in load.replies[during:]} == {200}


async def test_a_killed_valkey_costs_no_error_and_readiness_warns(own_services: Services) -> None:
    app = wrapped(own_services)
    load = Load(app, ("/cached/1", "/cached/2", "/fresh"))
    assert own_services.valkey

    async with lifespan(app), load.running():
        await load.until(100)
        await anyio.to_thread.run_sync(own_services.valkey.kill)
        await load.until(300)
        await until_ready(app, 200, "warn")
        await anyio.to_thread.run_sync(own_services.valkey.start)
        await until_ready(app, 200, "pass")
        await load.until(100)

    assert {reply.status for reply in load.replies} == {200}


async def test_limits_go_local_when_valkey_is_killed(own_services: Services) -> None:
    app = wrapped(own_services, limit="3/minute")
    assert own_services.valkey

    async with lifespan(app):
        before = await get(app, "/fresh", headers=[("x-client", "alice")])
        await anyio.to_thread.run_sync(own_services.valkey.kill)
        after = [(await get(app, "/fresh", headers=[("x-client", "alice")])).status for _ in range(5)]

    assert before.status == 200
    assert after == [200, 200, 200, 429, 429]
