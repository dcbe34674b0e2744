"""The stream: every product once, a page at a time, and nothing kept for a client that is slow or gone."""

from __future__ import annotations

import anyio
import orjson
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from demo_app.streaming import PAGE
from sipup_middleware.database import Facade
from tests.asgi import http_scope
from tests.demo.conftest import Client, faults

FOR_SALE = "SELECT id, sku FROM products WHERE NOT discontinued ORDER BY id"
PUMPS = """
SELECT p.id, p.sku FROM products p JOIN categories c ON c.id = p.category_id
WHERE c.slug = 'pumps' AND NOT p.discontinued ORDER BY p.id
"""


async def test_every_product_comes_once_a_line_each_and_a_page_a_chunk(shop: Client, db: Facade) -> None:
    reply = await shop.get("/stream")

    lines = [orjson.loads(line) for line in reply.body.splitlines()]
    expected = await db.fetch(FOR_SALE)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.headers["cache-control"] == "no-store"
    assert "content-length" not in reply.headers
    assert [(line["id"], line["sku"]) for line in lines] == [tuple(row) for row in expected]
    assert {"name", "price", "stock"} < lines[0].keys()
    assert [chunk.count(b"\n") for chunk in reply.chunks[:3]] == [PAGE] * 3
    assert len(reply.chunks) == -(-len(expected) // PAGE) + 1


async def test_a_category_is_its_products(shop: Client, db: Facade) -> None:
    reply = await shop.get("/stream?category=pumps")

    lines = [orjson.loads(line) for line in reply.body.splitlines()]
    assert [(line["id"], line["sku"]) for line in lines] == [tuple(row) for row in await db.fetch(PUMPS)]


async def test_it_is_refused_by_field_before_it_starts(shop: Client) -> None:
    unknown = await shop.get("/stream?category=unicorns")
    both = await shop.get("/stream?page=2&category=a&category=b")

    assert (unknown.status, set(faults(unknown))) == (400, {"category"})
    assert (both.status, set(faults(both))) == (400, {"page", "category"})


async def test_asked_for_its_head_it_reads_nothing(shop: Client) -> None:
    reply = await shop.send("HEAD", "/stream", headers={})

    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in reply.headers


class Slow:
    """A client that takes two chunks, and then no more until it is told what to do."""

    def __init__(self) -> None:
        self.chunks = 0
        self.stuck = anyio.Event()
        self.goes_on = anyio.Event()
        self.leaves = anyio.Event()
        self.ended = False

    async def receive(self) -> Message:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            return
        self.chunks += bool(message.get("body"))
        self.ended = not message.get("more_body", False)
        if self.chunks == 2:
            self.stuck.set()
            await self.goes_on.wait()
            if self.leaves.is_set():
                raise OSError


async def test_a_slow_client_keeps_no_connection_to_the_database(narrow_shop: Client) -> None:
    client = Slow()

    async with anyio.create_task_group() as tasks:
        scope = http_scope("/stream", client=narrow_shop.address)
        tasks.start_soon(narrow_shop.serve, scope, client.receive, client.send)
        await client.stuck.wait()
        meanwhile = await narrow_shop.get("/products/71")
        client.goes_on.set()

    assert meanwhile.status == 200
    assert client.ended


async def test_a_client_that_leaves_leaves_nothing_behind(narrow_shop: Client) -> None:
    client = Slow()

    async with anyio.create_task_group() as tasks:
        scope = http_scope(
            "/stream", client=narrow_shop.address, asgi={"version": "3.0", "spec_version": "2.3"}
        )
        tasks.start_soon(narrow_shop.serve, scope, client.receive, client.send)
        await client.stuck.wait()
        client.leaves.set()

    assert (client.chunks, client.ended) == (2, False)
    assert (await narrow_shop.get("/products/72")).status == 200


async def test_a_server_that_says_so_by_an_error_is_understood(narrow_shop: Client) -> None:
    client = Slow()
    client.goes_on.set()
    client.leaves.set()

    with pytest.raises(ClientDisconnect):
        await narrow_shop.app(http_scope("/stream", client=narrow_shop.address), client.receive, client.send)

    assert client.chunks == 2
    assert (await narrow_shop.get("/products/73")).status == 200
