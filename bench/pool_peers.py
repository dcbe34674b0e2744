"""The pools that the bench compares, each as it is used: a lease, a statement, a request that also waits.

A request of a peer has its connection for as long as it lasts, as the field's per-request sessions do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from psycopg_pool import AsyncConnectionPool

from sipup_middleware.database import Database, PoolConfig

__all__ = ("ABSENT", "PEERS", "SQL", "Contender", "Open")

SQL = "SELECT 1"
ABSENT = {"SQLAlchemy, async": "not among what the benches install"}
"""Pools that are known, and not here."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One pool, open."""

    lease: Callable[[], Awaitable[object]]
    """Borrow a connection and give it back."""

    fetch: Callable[[], Awaitable[object]]
    """Run one statement on a connection borrowed for it."""

    request: Callable[[float], Awaitable[object]]
    """Run one statement, and wait so many seconds for something else."""

    acquire: Callable[[], Awaitable[Any]]
    release: Callable[[Any], Awaitable[object]]
    run: Callable[[Any, str], Awaitable[object]]
    """Run a statement on what was acquired."""


Open = Callable[[str, int], AbstractAsyncContextManager[Contender]]
"""Opens a pool of so many connections to a URL."""


@asynccontextmanager
async def _ours(url: str, size: int) -> AsyncIterator[Contender]:
    async with Database(url, pool=PoolConfig(min=size, max=size)).open() as db:
        pool = db.pool

        async def lease() -> None:
            pool.release(await pool.acquire())

        async def request(think: float) -> None:
            await db.fetch(SQL)
            await asyncio.sleep(think)

        async def release(lease: Any) -> None:  # noqa: ANN401 (what was acquired)
            pool.release(lease)

        yield Contender(
            lease,
            lambda: db.fetch(SQL),
            request,
            pool.acquire,
            release,
            lambda it, sql: it.connection.fetch(sql),
        )


async def _no_reset(_: object) -> None:
    pass


def _asyncpg(**options: Any) -> Open:  # noqa: ANN401 (the peer's)
    @asynccontextmanager
    async def opened(url: str, size: int) -> AsyncIterator[Contender]:
        async with asyncpg.create_pool(url, min_size=size, max_size=size, **options) as pool:

            async def lease() -> None:
                await pool.release(await pool.acquire())

            async def request(think: float) -> None:
                async with pool.acquire() as connection:
                    await connection.fetch(SQL)
                    await asyncio.sleep(think)

            async def acquire() -> Any:  # noqa: ANN401 (the peer's)
                return await pool.acquire()

            yield Contender(
                lease, lambda: pool.fetch(SQL), request, acquire, pool.release, lambda it, sql: it.fetch(sql)
            )

    return opened


@asynccontextmanager
async def _psycopg(url: str, size: int) -> AsyncIterator[Contender]:
    options = {"autocommit": True}
    async with AsyncConnectionPool(url, min_size=size, max_size=size, kwargs=options) as pool:

        async def lease() -> None:
            await pool.putconn(await pool.getconn())

        async def run(connection: Any, sql: str) -> object:  # noqa: ANN401 (the peer's)
            return await (await connection.execute(sql)).fetchall()

        async def fetch() -> None:
            async with pool.connection() as connection:
                await run(connection, SQL)

        async def request(think: float) -> None:
            async with pool.connection() as connection:
                await run(connection, SQL)
                await asyncio.sleep(think)

        yield Contender(lease, fetch, request, pool.getconn, pool.putconn, run)


PEERS: dict[str, Open] = {
    "sipup": _ours,
    "asyncpg.Pool": _asyncpg(),
    "asyncpg.Pool, no reset": _asyncpg(reset=_no_reset),
    "psycopg_pool": _psycopg,
}
