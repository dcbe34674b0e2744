"""What docs/database.md shows is run, on a real server: it answers as the page says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from sipup_middleware.database import Database, Facade
from tests.asgi import get, hello, lifespan, request

pytestmark = pytest.mark.live

PAGE = Path(__file__).parents[2] / "docs" / "database.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
TABLES = """
    CREATE TABLE products (id int PRIMARY KEY, name text, stock int);
    CREATE TABLE orders (id serial PRIMARY KEY, product int);
    CREATE TABLE accounts (id int PRIMARY KEY, balance int);
    CREATE TABLE counters (name text PRIMARY KEY, n int DEFAULT 0);
    CREATE TABLE events (id int, what text);
    CREATE SCHEMA shop;
    CREATE TABLE shop.products (id int PRIMARY KEY, name text, price int);
    INSERT INTO products VALUES (1, 'a', 1);
    INSERT INTO accounts VALUES (1, 10), (2, 0);
"""


@pytest.fixture(autouse=True)
async def tables(db: Facade) -> AsyncIterator[None]:
    await db.execute(TABLES)
    yield
    await db.execute("DROP TABLE products, orders, accounts, counters, events; DROP SCHEMA shop CASCADE")


def names(containing: str, url: str) -> dict[str, Any]:
    """Run the example that has this in it, on the server at *url*."""
    (example,) = (each for each in EXAMPLES if containing in each)
    found: dict[str, Any] = {"app": hello}
    exec(compile(example.replace("postgresql://app@db/app", url), "example", "exec"), found)
    return found


async def test_products_and_orders(url: str) -> None:
    async with lifespan(app := names("async def product(", url)["app"]):
        product = await get(app, "/products/1")
        orders = [await request(app, "/orders", method="POST", body=b'{"product":1}') for _ in range(2)]

    assert product.json() == {"id": 1, "name": "a"}
    assert [order.status for order in orders] == [201, 409]


async def test_transfers(url: str, db: Facade) -> None:
    async with lifespan(app := names("async def transfer(", url)["app"]):
        transfers = [
            await request(app, "/transfers", method="POST", query=f"source=1&target=2&amount={amount}")
            for amount in (4, 400)
        ]
        order = await request(app, "/orders", method="POST", query="product=1")

    assert [transfer.status for transfer in transfers] == [200, 409]
    assert [row["balance"] for row in await db.fetch("SELECT balance FROM accounts ORDER BY id")] == [6, 4]
    assert order.json() == {"id": 1}
    assert await db.fetchval("SELECT count(*) FROM orders") == 1


async def test_many_rows(url: str) -> None:
    found = names("async def take_in(", url)
    routes = [
        Route("/events", found["take_in"], methods=["POST"]),
        Route("/prices", found["update_prices"], methods=["POST"]),
        Route("/export", found["export"]),
    ]
    records = [{"id": 1, "what": "x"}, {"id": "y", "what": "z"}]
    prices = [{"id": 1, "name": "n", "price": 5}]

    async with lifespan(app := Database(url)(Starlette(routes=routes))):
        taken = await request(app, "/events", method="POST", body=orjson.dumps(records))
        updated = [await request(app, "/prices", method="POST", body=orjson.dumps(prices)) for _ in range(2)]
        exported = await get(app, "/export")

    reason = "expected integer, got str (TypeError)"
    assert taken.json() == {"inserted": 1, "failed": [{"index": 1, "column": "id", "reason": reason}]}
    assert [reply.json()["updated"] for reply in updated] == [0, 1]
    assert exported.body == b"id,name,price\n1,n,5\n"


async def test_counters_by_threads(url: str) -> None:
    async with lifespan(app := names("def count(", url)["app"]):
        replies = [await request(app, "/counters/c", method="POST") for _ in range(2)]

    assert [reply.json() for reply in replies] == [{"value": 1}, {"value": 2}]
