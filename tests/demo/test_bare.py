"""The demo without the stack: the same answers, by a connection and a wait for each."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from starlette.types import Receive, Scope, Send

from demo_app import create_app
from demo_app.bare import Bare
from sipup_middleware import ConfigurationError, Settings
from sipup_middleware.database import Facade
from sipup_middleware.jobs import Job, JobContext, job
from tests.asgi import get, hello
from tests.conftest import BACKENDS
from tests.demo.conftest import Client, faults, key_of, new_client
from tests.demo.test_live import connected


@pytest.fixture(params=[each for each in BACKENDS if each.id != "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """What asyncpg works on when nobody carries its calls to another loop."""
    return request.param


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """What was done in the request: no mail server is here, and no supplier."""
    done: list[Job] = []

    @job("email.send")
    async def send(ctx: JobContext, **payload: Any) -> None:
        done.append(Job(ctx.name, payload))

    @job("webhook.deliver")
    async def deliver(ctx: JobContext, **payload: Any) -> None:
        done.append(Job(ctx.name, payload))

    monkeypatch.setattr("demo_app.app.TASKS", (send, deliver))
    monkeypatch.setenv("DEMO_WEBHOOK_URL", "http://127.0.0.1:9999")
    return done


@pytest.fixture
def bare(shop_url: str, done: list[Job]) -> Client:
    return new_client(create_app(Settings(database_url=shop_url), bare=True))


READS = [
    "/products",
    "/products?category=drives&sort=-price&page=2",
    "/products/81",
    "/suppliers/8",
    "/categories",
    "/reports/sales?month=2025-10",
    "/stream",
    "/stream?category=pumps",
    "/me/orders?page=2",
]


async def test_it_answers_every_read_as_the_whole_stack_does(shop: Client, bare: Client) -> None:
    for target in READS:
        wrapped = await shop.get(target, **{"x-api-key": key_of(3)})
        reply = await bare.get(target, **{"x-api-key": key_of(3)})

        assert (reply.status, reply.body) == (wrapped.status, wrapped.body), target
        assert wrapped.status == 200
        assert not {"cache-status", "ratelimit", "x-ratelimit-limit"} & reply.headers.keys()


async def test_it_refuses_as_the_whole_stack_does(shop: Client, bare: Client) -> None:
    for target in ("/products/20001", "/products?sort=cheap&page=0", "/me/orders", "/nothing"):
        wrapped, reply = await shop.get(target), await bare.get(target)

        assert (reply.status, faults(reply)) == (wrapped.status, faults(wrapped))
        assert len(reply.json()["instance"]) == 32


async def test_it_sells_and_tells_while_the_client_waits(
    bare: Client, done: list[Job], db: Facade, product: Mapping[str, Any]
) -> None:
    email = await db.fetchval("SELECT email FROM buyers WHERE id = 91")

    key = (await bare.post("/login", {"email": email, "password": "demo"})).json()["api_key"]
    reply = await bare.post("/orders", {"product_id": product["id"], "quantity": 60}, key=key)
    asked = await bare.post(
        "/inquiries", {"product_id": product["id"], "quantity": 1, "message": "?"}, key=key
    )
    price = await bare.put_price(product["id"], {"price": "2.50"})

    placed = reply.json()
    assert (reply.status, asked.status, price.status) == (201, 201, 200)
    assert [each.name for each in done] == ["email.send", "webhook.deliver", "email.send"]
    assert done[0].payload["to"] == email
    assert done[1].payload["event"]["data"]["order_id"] == placed["id"]
    assert len({*placed["jobs"].values()}) == 2
    assert await db.fetchval("SELECT buyer_id FROM orders WHERE id = $1", placed["id"]) == 91
    assert await db.fetchval("SELECT stock FROM products WHERE id = $1", product["id"]) == 940
    assert (await bare.get(f"/products/{product['id']}")).json()["price"] == "2.50"


async def test_a_message_that_cannot_be_sent_costs_the_order(
    shop_url: str, db: Facade, product: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @job("email.send")
    async def send(ctx: JobContext, **payload: Any) -> None:
        raise OSError("no mail server")

    monkeypatch.setattr("demo_app.app.TASKS", (send,))
    bare = new_client(create_app(Settings(database_url=shop_url), bare=True))

    with pytest.raises(OSError, match="no mail server"):
        await bare.post("/orders", {"product_id": product["id"], "quantity": 60}, key=key_of(92))

    assert await db.fetchval("SELECT stock FROM products WHERE id = $1", product["id"]) == 1000


async def test_each_request_that_asks_dials_once_and_hangs_up(
    bare: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[asyncpg.Connection[asyncpg.Record]] = []
    dial = asyncpg.connect

    async def connect(url: str) -> asyncpg.Connection[asyncpg.Record]:
        dialled.append(await dial(url))
        return dialled[-1]

    monkeypatch.setattr("demo_app.bare.asyncpg.connect", connect)

    for target in ("/", "/products", "/products/20001", "/reports/sales?month=2025-09", "/nothing"):
        await bare.get(target)

    assert len(dialled) == 3
    assert all(connection.is_closed() for connection in dialled)


async def test_it_has_the_websocket_too(bare: Client) -> None:
    async with connected(bare) as socket:
        answers = [await socket.ask('{"product": 82}') for _ in range(2)]
        faults = await socket.faults('{"product": 0}')

    assert [answer["id"] for answer in answers] == [82, 82]
    assert faults == {"product"}


async def test_it_needs_a_database_too() -> None:
    with pytest.raises(ConfigurationError, match="SIPUP_DATABASE_URL"):
        create_app(Settings(), bare=True)


async def test_a_handler_finds_all_that_the_stack_would_give_it(shop_url: str) -> None:
    found: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sipup = scope["state"]["sipup"]
        assert scope["sipup"] is sipup
        async with sipup.db.transaction(isolation="repeatable_read"):
            await sipup.db.execute("CREATE TEMPORARY TABLE t (n integer)")
            await sipup.db.executemany("INSERT INTO t VALUES ($1)", [(1,), (2,)])
        with suppress(asyncpg.DivisionByZeroError):
            async with sipup.db.transaction():
                await sipup.db.execute("DELETE FROM t")
                await sipup.db.execute("SELECT 1 / 0")
        found.append(await sipup.db.fetchval("SELECT sum(n) FROM t"))
        found.append(sipup.response.tag("a", "b").ttl(60).bypass() is sipup.response)
        found.append(await sipup.store.invalidate(tags=["a"]))
        await hello(scope, receive, send)

    reply = await get(Bare(app, url=shop_url, tasks=()))

    assert reply.body == b"hello"
    assert found == [3, True, None]


async def test_the_host_s_lifespan_passes_through(shop_url: str) -> None:
    passed: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    await Bare(app, url=shop_url, tasks=())({"type": "lifespan"}, unused, unused)

    assert passed == ["lifespan"]


async def unused(*message: Any) -> Any:
    raise AssertionError(message)
