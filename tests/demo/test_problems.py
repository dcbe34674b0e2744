"""Every refusal is a problem document that names the field."""

from __future__ import annotations

import pytest
from asyncpg import PostgresError

from demo_app import create_app
from sipup_middleware import Settings
from tests.asgi import Exchange, get, http_scope
from tests.demo.conftest import Client, faults

READS = {
    "/products/abc": (400, "id"),
    "/products/-1": (400, "id"),
    "/products/01": (400, "id"),
    "/products/1.0": (400, "id"),
    "/products/٣": (400, "id"),
    "/products/99999999999": (400, "id"),
    "/products/0": (404, "id"),
    "/products/9999999999": (404, "id"),
    "/suppliers/501": (404, "id"),
    "/products/1?x=1": (400, "x"),
    "/products?page=0": (400, "page"),
    "/products?page=two": (400, "page"),
    "/products?page=9999999": (400, "page"),
    "/products?page=2000": (404, "page"),
    "/products?page=1&page=2": (400, "page"),
    "/products?sort=cheapest": (400, "sort"),
    "/products?category=unicorns": (400, "category"),
    "/products?size=1000": (400, "size"),
    "/products?q=" + "x" * 81: (400, "q"),
    "/products?q=a%00b": (400, "q"),
    "/reports/sales": (400, "month"),
    "/reports/sales?month=2025-13": (400, "month"),
    "/reports/sales?month=0000-01": (400, "month"),
    "/nothing/here": (404, "path"),
}


async def test_a_read_is_refused_by_field(shop: Client) -> None:
    replies = {target: await shop.get(target) for target in READS}

    assert {target: (reply.status, *faults(reply)) for target, reply in replies.items()} == READS
    assert {reply.headers["cache-control"] for reply in replies.values()} == {"no-store"}


async def test_all_faults_are_named_at_once(shop: Client) -> None:
    reply = await shop.get("/products?sort=cheap&page=0&colour=red")

    assert set(faults(reply)) == {"sort", "page", "colour"}


WRITES: list[tuple[object, int, str]] = [
    (b"{", 400, "body"),
    (b"", 400, "body"),
    (b"[1]", 400, "body"),
    (b'{"price": NaN}', 400, "body"),
    ({}, 400, "price"),
    ({"price": 12.34}, 400, "price"),
    ({"price": None}, 400, "price"),
    ({"price": "12.345"}, 400, "price"),
    ({"price": "1e3"}, 400, "price"),
    ({"price": "٣"}, 400, "price"),
    ({"price": "0.00"}, 400, "price"),
    ({"price": "-5"}, 400, "price"),
    ({"price": "1000000.01"}, 400, "price"),
    ({"price": "1.00", "currency": "EUR"}, 400, "currency"),
    (b'{"price": "1.00"}' + b" " * 1024, 413, "body"),
]


async def test_a_write_is_refused_by_field(shop: Client) -> None:
    replies = [await shop.put_price(2, body) for body, _, _ in WRITES]

    assert [(reply.status, *faults(reply)) for reply in replies] == [each[1:] for each in WRITES]


async def test_a_write_needs_the_key(shop: Client) -> None:
    for key in (None, "", "demo-kez", "demo-key-and-more", "dëmo"):
        reply = await shop.put_price(2, b"not even read", key=key)

        assert reply.status == 401
        assert list(faults(reply)) == ["X-API-Key"]
        assert "www-authenticate" in reply.headers


async def test_a_write_must_be_declared_as_json(shop: Client) -> None:
    for media in ("text/plain", "", "application/x-www-form-urlencoded"):
        reply = await shop.put_price(2, {"price": "1.00"}, media=media)

        assert reply.status == 415
        assert list(faults(reply)) == ["Content-Type"]


async def test_json_may_name_its_charset(shop: Client) -> None:
    assert (await shop.put_price(2, {"price": "1.00"}, media="Application/JSON; charset=utf-8")).status == 200


async def test_a_price_is_of_a_product_that_is_sold(shop: Client) -> None:
    for product, status in (("20001", 404), ("x", 400), ("18", 409)):
        reply = await shop.put_price(product, {"price": "1.00"})

        assert reply.status == status
        assert list(faults(reply)) == ["id"]


async def test_another_method_is_refused_with_those_allowed(shop: Client) -> None:
    reply = await shop.send("DELETE", "/products/1", headers={})

    assert reply.status == 405
    assert list(faults(reply)) == ["method"]
    assert reply.headers["allow"] == "GET, HEAD"


async def test_an_unexpected_error_tells_the_client_nothing(
    shop: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo_app.suppliers._LATEST", "SELECT secret FROM nowhere WHERE $1 > 0")

    exchange = Exchange()

    with pytest.raises(PostgresError, match="nowhere"):
        await shop.app(http_scope("/suppliers/9", client=shop.address), exchange.receive, exchange.send)

    assert exchange.status == 500
    assert faults(exchange) == {}
    assert "nowhere" not in exchange.body.decode()


async def test_a_missing_database_is_503_with_retry_after(redis_url: str) -> None:
    app = create_app(Settings(database_url="postgresql://app@127.0.0.1:1/app", redis_url=redis_url))

    reply = await get(app, "/products/3", client="10.99.99.99")

    assert reply.status == 503
    assert reply.headers["content-type"] == "application/problem+json"
    assert "retry-after" in reply.headers
