"""The marketplace with its data, in a database of its own; each test is a client of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson
import pytest
from starlette.types import ASGIApp

from demo_app import create_app
from demo_app.data import load
from demo_app.keys import DEFAULT_KEY
from sipup_middleware import Settings
from sipup_middleware.services import Services
from tests.asgi import Exchange, lifespan, request

CLIENTS = count(os.getpid() << 16)


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
def demo_url(empty_url: str) -> str:
    assert load(empty_url) is True
    return empty_url


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
        headers = {"content-type": media, **({} if key is None else {"x-api-key": key})}
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        return await self.send("PUT", f"/products/{product}/price", headers=headers, body=data)

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


@pytest.fixture
async def shop(demo_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.delenv("DEMO_API_KEY", raising=False)
    app = create_app(Settings(database_url=demo_url, redis_url=redis_url))
    number = next(CLIENTS)
    async with lifespan(app):
        yield Client(app, ".".join(str(byte) for byte in (10, *(number & 0xFFFFFF).to_bytes(3))))


def cache_status(reply: Exchange) -> str:
    """Return what the response cache did: ``hit``, ``fwd=uri-miss`` …"""
    return reply.headers["cache-status"].split("; ")[1]


def faults(reply: Exchange) -> dict[str, str]:
    """Return the fields that a problem names, each with its detail."""
    assert reply.headers["content-type"] == "application/problem+json"
    document = reply.json()
    assert document["status"] == reply.status
    return {each["field"]: each["detail"] for each in document["errors"]}
