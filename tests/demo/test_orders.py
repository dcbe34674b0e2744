"""Orders: what is kept, who is told, what becomes a miss, and that all of it happens or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import anyio
import orjson
import pytest
from asyncpg import PostgresError

from demo_app.keys import DEFAULT_KEY
from sipup_middleware.database import Facade
from tests.asgi import Exchange, http_scope
from tests.demo.conftest import Client, cache_status, faults, job_of, key_of, run_sql

Product = Mapping[str, Any]

TRACES = """
SELECT (SELECT stock FROM products WHERE id = $1) AS stock,
       (SELECT count(*) FROM order_items WHERE product_id = $1) AS items,
       (SELECT count(*) FROM orders WHERE buyer_id = $2) AS orders,
       (SELECT count(*) FROM sipup.saq_jobs) AS jobs
"""


@pytest.fixture
def suppliers_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_WEBHOOK_URL", "http://127.0.0.1:9999/")


async def order(shop: Client, product_id: object, quantity: object, *, buyer: int) -> Exchange:
    body = {"product_id": product_id, "quantity": quantity}
    return await shop.post("/orders", body, key=key_of(buyer))


async def test_an_order_is_kept_and_taken_from_stock(shop: Client, db: Facade, product: Product) -> None:
    reply = await order(shop, product["id"], 60, buyer=11)

    placed = reply.json()
    kept = await db.fetchrow("SELECT * FROM orders WHERE id = $1", placed["id"])
    items = await db.fetch("SELECT * FROM order_items WHERE order_id = $1", placed["id"])
    assert kept is not None
    assert reply.status == 201
    assert reply.headers["location"] == "/me/orders"
    assert reply.headers["cache-control"] == "no-store"
    assert {name: value for name, value in placed.items() if name not in {"id", "placed_at", "jobs"}} == {
        "status": "placed",
        "product_id": product["id"],
        "quantity": 60,
        "unit_price": str(product["price"]),
        "total": str(60 * product["price"]),
        "supplier_id": product["supplier_id"],
    }
    assert (kept["buyer_id"], kept["supplier_id"], kept["status"]) == (11, product["supplier_id"], "placed")
    assert kept["total"] == 60 * product["price"]
    assert kept["placed_at"] == datetime.fromisoformat(placed["placed_at"])
    assert [(item["product_id"], item["quantity"], item["unit_price"]) for item in items] == [
        (product["id"], 60, product["price"])
    ]
    assert (await shop.get(f"/products/{product['id']}")).json()["stock"] == 940


async def test_the_buyer_and_the_supplier_are_told(
    suppliers_listen: None, shop: Client, db: Facade, product: Product
) -> None:
    placed = (await order(shop, product["id"], 60, buyer=12)).json()

    buyer = await db.fetchrow("SELECT * FROM buyers WHERE id = 12")
    mail = await job_of(db, placed["jobs"]["confirmation"])
    webhook = await job_of(db, placed["jobs"]["webhook"])
    assert buyer is not None
    assert (mail["function"], mail["priority"], mail["status"]) == ("email.send", 10, "queued")
    assert mail["kwargs"]["to"] == buyer["email"]
    for told in (str(placed["id"]), product["sku"]):
        assert told in mail["kwargs"]["subject"]
    for told in (buyer["company"], product["name"], placed["unit_price"], placed["total"]):
        assert told in mail["kwargs"]["text"]
    assert (webhook["function"], webhook["priority"]) == ("webhook.deliver", 10)
    assert webhook["kwargs"]["url"] == f"http://127.0.0.1:9999/suppliers/{product['supplier_id']}"
    event = webhook["kwargs"]["event"]
    assert (event["type"], event["timestamp"]) == ("order.placed", placed["placed_at"])
    assert event["data"] == {
        "order_id": placed["id"],
        "buyer": {"id": 12, "company": buyer["company"], "country": buyer["country"]},
        "product_id": product["id"],
        "sku": product["sku"],
        "quantity": 60,
        "unit_price": placed["unit_price"],
        "total": placed["total"],
        "placed_at": placed["placed_at"],
    }


async def test_no_webhook_is_enqueued_where_no_supplier_listens(
    shop: Client, db: Facade, product: Product
) -> None:
    placed = (await order(shop, product["id"], 50, buyer=13)).json()

    assert placed["jobs"]["webhook"] is None
    assert (await job_of(db, placed["jobs"]["confirmation"]))["function"] == "email.send"


async def test_it_purges_what_showed_the_stock_or_the_month_and_nothing_else(
    shop: Client, product: Product
) -> None:
    month = datetime.now(UTC).strftime("%Y-%m")
    found = f"/products?q={quote(product['name'])}"
    stale = [f"/products/{product['id']}", found, f"/reports/sales?month={month}"]
    fresh = [
        "/products/31",
        "/categories",
        f"/suppliers/{product['supplier_id']}",
        "/reports/sales?month=2025-05",
    ]
    for target in stale + fresh:
        await shop.get(target)

    placed = await order(shop, product["id"], 50, buyer=14)

    assert placed.status == 201
    assert [cache_status(await shop.get(target)) for target in stale] == ["fwd=uri-miss"] * len(stale)
    assert [cache_status(await shop.get(target)) for target in fresh] == ["hit"] * len(fresh)


async def test_the_report_of_the_month_counts_it(shop: Client, product: Product) -> None:
    first = (await order(shop, product["id"], 50, buyer=15)).json()
    report = f"/reports/sales?month={first['placed_at'][:7]}"
    before = (await shop.get(report)).json()
    await order(shop, product["id"], 50, buyer=15)
    after = (await shop.get(report)).json()

    assert after["orders"] == before["orders"] + 1
    assert Decimal(after["revenue"]) == Decimal(before["revenue"]) + Decimal(first["total"])


async def test_the_operator_buys_as_buyer_1(shop: Client, db: Facade, product: Product) -> None:
    placed = await shop.post("/orders", {"product_id": product["id"], "quantity": 50}, key=DEFAULT_KEY)

    assert await db.fetchval("SELECT buyer_id FROM orders WHERE id = $1", placed.json()["id"]) == 1


BODIES: list[tuple[object, int, set[str]]] = [
    (b"{", 400, {"body"}),
    (b"[]", 400, {"body"}),
    ({}, 400, {"product_id", "quantity"}),
    ({"product_id": "1", "quantity": 1}, 400, {"product_id"}),
    ({"product_id": 1, "quantity": 1.5}, 400, {"quantity"}),
    ({"product_id": True, "quantity": 0}, 400, {"product_id", "quantity"}),
    ({"product_id": 1 << 31, "quantity": -1}, 400, {"product_id", "quantity"}),
    ({"product_id": None, "quantity": 1, "price": "0.01"}, 400, {"product_id", "price"}),
    ({"product_id": 20_001, "quantity": 1}, 404, {"product_id"}),
    ({"product_id": 18, "quantity": 100}, 409, {"product_id"}),
    (b'{"product_id": 1, "quantity": 1}' + b" " * 1024, 413, {"body"}),
]


async def test_an_order_is_refused_by_field(shop: Client) -> None:
    replies = [await shop.post("/orders", body, key=key_of(16)) for body, _, _ in BODIES]
    media = await shop.post("/orders", {}, key=key_of(16), media="text/plain")

    assert [(reply.status, set(faults(reply))) for reply in replies] == [each[1:] for each in BODIES]
    assert (media.status, set(faults(media))) == (415, {"Content-Type"})


async def test_an_order_needs_a_key_that_somebody_has(shop: Client) -> None:
    forged = key_of(17)[:-1] + ("0" if key_of(17)[-1] != "0" else "1")
    for key in (None, "", forged, key_of(17).replace("-17-", "-18-"), key_of(9999)):
        reply = await shop.post("/orders", {"product_id": 1, "quantity": 1}, key=key)

        assert (reply.status, list(faults(reply))) == (401, ["X-API-Key"])
        assert "www-authenticate" in reply.headers


async def test_too_few_or_too_many_are_refused_and_change_and_purge_nothing(
    shop: Client, db: Facade, product: Product
) -> None:
    page = f"/products/{product['id']}"
    await shop.get(page)

    too_few = await order(shop, product["id"], product["min_quantity"] - 1, buyer=19)
    too_many = await order(shop, product["id"], 1001, buyer=19)

    assert (too_few.status, faults(too_few)) == (
        409,
        {"quantity": f"must be at least {product['min_quantity']}"},
    )
    assert (too_many.status, faults(too_many)) == (
        409,
        {"quantity": "must be at most 1000: no more are in stock"},
    )
    assert await db.fetchval("SELECT stock FROM products WHERE id = $1", product["id"]) == 1000
    assert cache_status(await shop.get(page)) == "hit"


async def test_what_is_in_stock_is_sold_once(shop: Client, db: Facade, product: Product) -> None:
    statuses: list[int] = []

    async def buy(buyer: int) -> None:
        statuses.append((await order(shop, product["id"], 300, buyer=buyer)).status)

    async with anyio.create_task_group() as tasks:
        for buyer in range(20, 28):
            tasks.start_soon(buy, buyer)

    assert sorted(statuses) == [201] * 3 + [409] * 5
    assert await db.fetchval("SELECT stock FROM products WHERE id = $1", product["id"]) == 100


REFUSED = 15_001
REFUSING = f"""
DO $do$ BEGIN
    UPDATE products SET discontinued = false, stock = 1000, min_quantity = 1 WHERE id = {REFUSED};
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
        AS $body$ BEGIN RAISE EXCEPTION 'too late'; END $body$;
    CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON order_items DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.product_id = {REFUSED}) EXECUTE FUNCTION refuse();
END $do$
"""  # noqa: S608 (a number of our own)


@pytest.fixture
def no_commit_of(shop_url: str) -> Iterator[int]:
    """A product whose orders PostgreSQL refuses at the last moment."""
    run_sql(shop_url, REFUSING)
    yield REFUSED
    run_sql(shop_url, "DROP FUNCTION refuse CASCADE")


async def test_an_order_whose_commit_fails_leaves_nothing_behind(
    suppliers_listen: None, shop: Client, db: Facade, no_commit_of: int
) -> None:
    body = orjson.dumps({"product_id": no_commit_of, "quantity": 5})
    exchange = Exchange([{"type": "http.request", "body": body}])
    headers = {"content-type": "application/json", "x-api-key": key_of(30)}
    scope = http_scope("/orders", method="POST", headers=headers.items(), client=shop.address)
    page = f"/products/{no_commit_of}"
    await shop.get(page)
    before = await db.fetchrow(TRACES, no_commit_of, 30)

    with pytest.raises(PostgresError, match="too late"):
        await shop.app(scope, exchange.receive, exchange.send)

    assert exchange.status == 500
    assert faults(exchange) == {}
    assert await db.fetchrow(TRACES, no_commit_of, 30) == before
    assert cache_status(await shop.get(page)) == "fwd=uri-miss"


async def test_my_orders_come_newest_first_with_what_was_ordered(shop: Client, product: Product) -> None:
    placed = [(await order(shop, product["id"], quantity, buyer=31)).json() for quantity in (50, 51)]

    mine = await shop.get("/me/orders", **{"x-api-key": key_of(31)})

    listed = mine.json()["items"]
    assert mine.headers["cache-control"] == "private, no-store"
    assert [each["id"] for each in listed[:2]] == [placed[1]["id"], placed[0]["id"]]
    assert listed[0]["items"] == [
        {
            "product_id": product["id"],
            "sku": product["sku"],
            "name": product["name"],
            "quantity": 51,
            "unit_price": placed[1]["unit_price"],
        }
    ]
    for each in listed:
        total = sum(item["quantity"] * Decimal(item["unit_price"]) for item in each["items"])
        assert Decimal(each["total"]) == total


async def test_my_orders_are_all_mine_and_twenty_a_page(shop: Client, db: Facade) -> None:
    ids = {row["id"] for row in await db.fetch("SELECT id FROM orders WHERE buyer_id = 2")}
    mine = {"x-api-key": key_of(2)}
    first = (await shop.get("/me/orders", **mine)).json()
    rest = [
        (await shop.get(f"/me/orders?page={page}", **mine)).json() for page in range(2, first["pages"] + 1)
    ]
    beyond = await shop.get(f"/me/orders?page={first['pages'] + 1}", **mine)

    listed = [each["id"] for page in (first, *rest) for each in page["items"]]
    assert len(ids) == first["total"] > 40
    assert (first["size"], len(first["items"])) == (20, 20)
    assert (len(listed), set(listed)) == (len(ids), ids)
    assert (beyond.status, list(faults(beyond))) == (404, ["page"])


async def test_one_buyer_does_not_see_another_s_orders(shop: Client, product: Product) -> None:
    placed = (await order(shop, product["id"], 50, buyer=32)).json()

    others = [(await shop.get("/me/orders", **{"x-api-key": key_of(buyer)})).json() for buyer in (33, 34)]
    stranger = await shop.get("/me/orders")

    assert placed["id"] not in {each["id"] for page in others for each in page["items"]}
    assert (stranger.status, list(faults(stranger))) == (401, ["X-API-Key"])
