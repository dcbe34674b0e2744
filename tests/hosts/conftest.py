"""A database for the shops of this folder, and a place in it for each test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

import sipup_middleware.jobs.postgres  # noqa: F401 (a layer imports it when its URL is read: no loop must wait for that)
from sipup_middleware import Database, PoolConfig
from sipup_middleware.database import Facade
from sipup_middleware.services import Services
from tests.hosts.shop import SCHEMA, Place

PLACES = count(1)


def run_sql(url: str, sql: str, *args: object) -> list[tuple[Any, ...]]:
    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *args)]
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.fixture(scope="session")
def items_url(services: Services) -> Iterator[str]:
    """A database that holds the table of items, and nobody else's jobs."""
    assert services.database_url
    name = f"hosts_{os.getpid()}"
    run_sql(services.database_url, f"CREATE DATABASE {name}")
    url = urlsplit(services.database_url)._replace(path=f"/{name}").geturl()
    run_sql(url, SCHEMA)
    yield url
    run_sql(services.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def place(items_url: str, redis_url: str) -> Place:
    return Place(items_url, redis_url, f"hosts_{os.getpid()}_{next(PLACES)}")


@pytest.fixture
async def db(items_url: str) -> AsyncIterator[Facade]:
    """What the shop has written, seen from outside."""
    async with Database(items_url, pool=PoolConfig(min=0, max=1)).open() as opened:
        yield opened


@pytest.fixture
async def item(db: Facade) -> int:
    """A chair that no other test has."""
    return int(await db.fetchval("INSERT INTO items (name) VALUES ('chair') RETURNING id"))
