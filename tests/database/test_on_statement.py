"""Whoever wants to know of statements is told of each, once, when it has ended."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.database.lease import Statement
from sipup_middleware.database.meters import Meters
from sipup_middleware.database.runner import Runner
from sipup_middleware.telemetry import Telemetry
from tests.asgi import get, lifespan

pytestmark = pytest.mark.live


class Listener:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bool, str | None]] = []
        self.seconds: list[float] = []

    def __call__(self, runner: Runner, statement: Statement, seconds: float, error: Exception | None) -> None:
        assert isinstance(runner, Facade)
        name = None if error is None else type(error).__name__
        self.heard.append((statement.sql, statement.traits.reads, name))
        self.seconds.append(seconds)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def heard(db: Facade, listener: Listener) -> Facade:
    """A facade on the same pool that somebody listens to."""
    meters = Meters(Telemetry())
    meters.on_statement.append(listener)
    return Facade(lambda: db.pool, meters)


async def test_reads_writes_and_failures_are_told_apart(
    heard: Facade, table: str, listener: Listener
) -> None:
    await heard.fetch("SELECT 1")
    await heard.execute("INSERT INTO things VALUES (1)")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await heard.fetchval("SELECT 1 / 0")
    async with heard.transaction():
        await heard.fetchval("SELECT 2")

    assert listener.heard == [
        ("SELECT 1", True, None),
        ("INSERT INTO things VALUES (1)", False, None),
        ("SELECT 1 / 0", True, "DivisionByZeroError"),
        ("SELECT 2", True, None),
    ]


async def test_a_stream_is_told_of_batch_by_batch(heard: Facade, listener: Listener) -> None:
    sql = "SELECT n FROM generate_series(1, 25) AS n"

    rows = [row async for row in heard.stream(sql, prefetch=10)]

    assert len(rows) == 25
    assert listener.heard == [(sql, True, None)] * 3


async def test_the_time_is_the_statements_own(url: str, listener: Listener) -> None:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        db.meters.on_statement.append(listener)
        await db.fetchval("SELECT pg_sleep(0.2)")
        await db.fetchval("SELECT 1")

    assert listener.seconds[0] >= 0.2
    assert listener.seconds[1] < listener.seconds[0]


async def test_a_response_that_is_streamed_holds_nothing_while_it_waits(url: str) -> None:
    layer = Database(url, pool=PoolConfig(min=0, max=1))
    in_use: list[Any] = []

    async def endpoint(request: Request) -> StreamingResponse:
        db = request.state.sipup.db

        async def events() -> Any:
            for number in range(3):
                yield str(await db.fetchval("SELECT $1::int", number))
                pool = layer._opening.handle
                assert pool is not None
                in_use.append(pool.stats()["in_use"])

        return StreamingResponse(events())

    app = layer(Starlette(routes=[Route("/", endpoint)]))
    async with lifespan(app):
        reply = await get(app)

    assert reply.body == b"012"
    assert in_use == [0, 0, 0]
