"""Connections that do not come back are reported once, by who has them and where they were borrowed."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from sipup_middleware.bridge import GRACE
from sipup_middleware.database import Database, PoolConfig
from sipup_middleware.database.leaks import Holder, report_leaks
from sipup_middleware.database.pool import Pool
from sipup_middleware.telemetry import ConnectionLeaked, Fact, Telemetry
from tests.asgi import get, lifespan
from tests.database.doubles import Clock, Dials
from tests.database.test_pool import pooled


def leaks(facts: list[Fact]) -> list[ConnectionLeaked]:
    return [fact for fact in facts if isinstance(fact, ConnectionLeaked)]


@pooled(max=3)
async def test_what_is_lent_for_long_is_told_once(pool: Pool, dials: Dials, clock: Clock) -> None:
    kept, short, nobody = await pool.acquire(), await pool.acquire(), await pool.acquire()
    kept.borrower = Holder("transaction", None)
    clock.now += 59
    short.borrower = Holder("connection", None)
    short.since = clock.now

    report_leaks(pool, 60)
    clock.now += 2
    report_leaks(pool, 60)
    report_leaks(pool, 60)

    [(_, fact)] = pool.tally.told_since(0)
    assert isinstance(fact, ConnectionLeaked)
    assert (fact.held_by, fact.route, fact.seconds) == ("transaction", "__unmatched__", 61)
    assert pool.tally.counts["leaked"] == 1
    for lease in (kept, short, nobody):
        pool.release(lease)


@pooled(max=1)
async def test_a_new_borrowing_is_told_anew(pool: Pool, dials: Dials, clock: Clock) -> None:
    for _ in range(2):
        lease = await pool.acquire()
        lease.borrower = Holder("transaction", None)
        clock.now += 61
        report_leaks(pool, 60)
        pool.release(lease)

    assert pool.tally.counts["leaked"] == 2


@pooled(max=1)
async def test_what_idles_is_nobodys(pool: Pool, dials: Dials, clock: Clock) -> None:
    lease = await pool.acquire()
    lease.borrower = Holder("transaction", None)
    pool.release(lease)
    clock.now += 3600

    report_leaks(pool, 60)

    assert pool.tally.counts["leaked"] == 0


def test_a_holder_knows_who_made_it_and_keeps_no_variable() -> None:
    secret, test = "s3cret", test_a_holder_knows_who_made_it_and_keeps_no_variable

    def borrow() -> Holder:
        return Holder("transaction", None)

    holder = borrow()

    assert [each.rpartition(" ")[2] for each in holder.where[:2]] == ["borrow", test.__name__]
    assert len(holder.where) <= 4
    assert secret not in repr(holder.where)


@pytest.mark.live
async def test_a_leak_is_told_with_its_route_and_its_place(url: str) -> None:
    facts: list[Fact] = []
    stuck, go = anyio.Event(), anyio.Event()

    async def checkout(request: Request) -> JSONResponse:
        async with request.state.sipup.db.transaction():
            await request.state.sipup.db.fetchval("SELECT $1::text", "s3cret")
            stuck.set()
            await go.wait()
        return JSONResponse(None)

    async def other(request: Request) -> JSONResponse:
        return JSONResponse(await request.state.sipup.db.fetchval("SELECT 1"))

    routes = [Mount("/shop", routes=[Route("/orders/{id}", checkout)]), Route("/other", other)]
    layer = Database(url, pool=PoolConfig(min=0, max=2, leak_after=0.1))
    app = layer(Starlette(routes=routes), telemetry=Telemetry(observers=[facts.append]))

    async with lifespan(app), anyio.create_task_group() as tasks:
        tasks.start_soon(get, app, "/shop/orders/7")
        await stuck.wait()
        with anyio.fail_after(10):
            while not leaks(facts):
                await get(app, "/other")
        for _ in range(5):
            await anyio.sleep(0.05)
            await get(app, "/other")
        go.set()

    [leak] = leaks(facts)
    assert (leak.route, leak.held_by) == ("/shop/orders/{id}", "transaction")
    assert "test_leaks.py" in leak.where[0]
    assert leak.where[0].endswith(" checkout")
    assert "s3cret" not in repr(leak)


@pytest.mark.live
async def test_a_statement_that_hangs_is_told_by_its_method(url: str) -> None:
    facts: list[Fact] = []

    async def handle(request: Request) -> JSONResponse:
        return JSONResponse(await request.state.sipup.db.fetchval("SELECT 1 FROM pg_sleep(0.5)"))

    layer = Database(url, pool=PoolConfig(min=0, max=2, leak_after=0.1))
    app = layer(Starlette(routes=[Route("/", handle)]), telemetry=Telemetry(observers=[facts.append]))

    async with lifespan(app):
        await get(app)

    [leak] = leaks(facts)
    assert (leak.route, leak.held_by, leak.where) == ("/", "fetchval", ())


@pytest.mark.live
async def test_a_leak_does_not_keep_the_shutdown(url: str) -> None:
    """Two connections that never come back: one that idles in a transaction, one that is at a statement."""
    layer = Database(url, pool=PoolConfig(min=0, max=3))

    async def leak() -> None:
        pool = layer._pool()
        lease = await pool.acquire()
        await lease.connection.execute("BEGIN")
        busy = await pool.acquire()
        hanging = asyncio.ensure_future(busy.connection.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(GRACE + 1):
            await pool.aclose()
        await asyncio.gather(hanging, return_exceptions=True)
        assert lease.connection.is_closed()
        assert busy.connection.is_closed()

    await layer._pool().home.call(leak)
