"""The marketplace with its data, in a database of its own; each test is a client of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from demo_app import create_app
from demo_app.data import load
from demo_app.keys import DEFAULT_KEY, ApiKey
from sipup_middleware import Database, PoolConfig, Settings
from sipup_middleware.database import Facade
from sipup_middleware.services import Services
from tests.asgi import Exchange, lifespan, request

CLIENTS = count(os.getpid() << 16)
PRODUCTS = count(10_000, 25)


def run_sql(url: str, sql: str) -> Any:
    """Return the first value that *sql* gives."""

    async def ask() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.fixture(scope="session")
def empty_url(services: Services) -> Iterator[str]:
    """A database that nobody else uses."""
    assert services.database_url
    name = f"demo_{os.getpid()}"
    run_sql(services.database_url, f"CREATE DATABASE {name}")
    yield urlsplit(services.database_url)._replace(path=f"/{name}").geturl()
    run_sql(services.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def databases(empty_url: str, services: Services) -> Iterator[tuple[str, str]]:
    """The data as it was loaded, and a copy to trade in: made at once, since nobody may be connected then."""
    assert services.database_url
    assert load(empty_url) is True
    name = f"shop_{os.getpid()}"
    run_sql(services.database_url, f"CREATE DATABASE {name} TEMPLATE demo_{os.getpid()}")
    yield empty_url, urlsplit(empty_url)._replace(path=f"/{name}").geturl()
    run_sql(services.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def demo_url(databases: tuple[str, str]) -> str:
    return databases[0]


@pytest.fixture(scope="session")
def shop_url(databases: tuple[str, str]) -> str:
    return databases[1]


@pytest.fixture(autouse=True)
def demo_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEMO_API_KEY", "DEMO_BARE", "DEMO_PASSWORD", "DEMO_WEBHOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEMO_SECRET", "the tests' own")


@dataclass
class Client:
    """Asks the marketplace from an address that no other test has."""

    app: ASGIApp
    address: str

    async def get(self, target: str, **headers: str) -> Exchange:
        return await self.send("GET", target, headers=headers)

    async def put_price(
        self,
        product: int | str,
        body: object,
        *,
        key: str | None = DEFAULT_KEY,
        media: str = "application/json",
    ) -> Exchange:
        return await self._write("PUT", f"/products/{product}/price", body, key, media)

    async def post(
        self, target: str, body: object, *, key: str | None = None, media: str = "application/json"
    ) -> Exchange:
        return await self._write("POST", target, body, key, media)

    async def _write(self, method: str, target: str, body: object, key: str | None, media: str) -> Exchange:
        headers = {"content-type": media, **({} if key is None else {"x-api-key": key})}
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        return await self.send(method, target, headers=headers, body=data)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    async def send(self, method: str, target: str, *, headers: dict[str, str], body: bytes = b"") -> Exchange:
        path, _, query = target.partition("?")
        return await request(
            self.app,
            path,
            method=method,
            query=query,
            headers=headers.items(),
            body=body,
            client=self.address,
        )


def new_client(app: ASGIApp) -> Client:
    return Client(app, ".".join(str(byte) for byte in (10, *(next(CLIENTS) & 0xFFFFFF).to_bytes(3))))


@pytest.fixture
async def shop(shop_url: str, redis_url: str) -> AsyncIterator[Client]:
    app = create_app(Settings(database_url=shop_url, redis_url=redis_url))
    async with lifespan(app):
        yield new_client(app)


@pytest.fixture
async def narrow_shop(shop_url: str, redis_url: str) -> AsyncIterator[Client]:
    """A shop with one connection to PostgreSQL: whoever keeps it stops everybody."""
    app = create_app(Settings(database_url=shop_url, redis_url=redis_url, budget=1))
    async with lifespan(app):
        yield new_client(app)


@pytest.fixture
async def db(shop_url: str) -> AsyncIterator[Facade]:
    """What the shop has written, seen from outside."""
    async with Database(shop_url, pool=PoolConfig(min=0, max=2)).open() as opened:
        yield opened


@pytest.fixture
async def product(db: Facade) -> Mapping[str, Any]:
    """A product that no other test sells, 1000 of it in stock."""
    row = await db.fetchrow(
        """
        UPDATE products SET stock = 1000 WHERE id = (
            SELECT id FROM products WHERE id >= $1 AND NOT discontinued AND min_quantity BETWEEN 2 AND 50
            ORDER BY id LIMIT 1
        ) RETURNING *
        """,
        next(PRODUCTS),
    )
    assert row is not None
    return dict(row)


async def job_of(db: Facade, key: str) -> dict[str, Any]:
    """Return the job that has this id, as its worker would read it."""
    document = await db.fetchval("SELECT job FROM sipup.saq_jobs WHERE key = $1", key)
    assert document, f"no job is {key}"
    return dict(orjson.loads(document))


def key_of(buyer: int) -> str:
    return ApiKey.from_environ().of_buyer(buyer)


def cache_status(reply: Exchange) -> str:
    """Return what the response cache did: ``hit``, ``fwd=uri-miss`` …"""
    return reply.headers["cache-status"].split("; ")[1]


def faults(reply: Exchange) -> dict[str, str]:
    """Return the fields that a problem names, each with its detail."""
    assert reply.headers["content-type"] == "application/problem+json"
    document = reply.json()
    assert document["status"] == reply.status
    return {each["field"]: each["detail"] for each in document["errors"]}
