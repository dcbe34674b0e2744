"""Inquiries: a question is kept and reaches the supplier, both or neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sipup_middleware.database import Facade
from tests.demo.conftest import Client, cache_status, faults, job_of, key_of

Product = Mapping[str, Any]
ASKED = "Is it in stock?\nWe need it {soon} ï %s."


async def test_an_inquiry_is_kept_and_the_supplier_told(shop: Client, db: Facade, product: Product) -> None:
    body = {"product_id": product["id"], "quantity": 500, "message": ASKED}

    reply = await shop.post("/inquiries", body, key=key_of(51))

    asked = reply.json()
    kept = await db.fetchrow("SELECT * FROM inquiries WHERE id = $1", asked["id"])
    buyer = await db.fetchrow("SELECT * FROM buyers WHERE id = 51")
    mail = await job_of(db, asked["jobs"]["notification"])
    assert kept is not None
    assert buyer is not None
    assert reply.status == 201
    assert (asked["status"], asked["message"]) == ("open", ASKED)
    assert (kept["product_id"], kept["buyer_id"], kept["quantity"]) == (product["id"], 51, 500)
    assert (kept["message"], kept["status"]) == (ASKED, "open")
    assert mail["function"] == "email.send"
    assert mail["kwargs"]["to"] == f"sales@supplier-{product['supplier_id']}.example"
    assert mail["kwargs"]["reply_to"] == buyer["email"]
    for told in (buyer["company"], buyer["email"], product["sku"], "> We need it {soon} ï %s."):
        assert told in mail["kwargs"]["text"]


async def test_the_product_s_page_counts_it_and_other_pages_stay(shop: Client, product: Product) -> None:
    page, other = f"/products/{product['id']}", "/products/51"
    before = await shop.get(page)
    await shop.get(other)

    await shop.post(
        "/inquiries", {"product_id": product["id"], "quantity": 1, "message": "?"}, key=key_of(52)
    )
    after = await shop.get(page)

    assert cache_status(after) == "fwd=uri-miss"
    assert after.json()["inquiries"] == before.json()["inquiries"] + 1
    assert cache_status(await shop.get(other)) == "hit"


BODIES: list[tuple[object, int, set[str]]] = [
    ({}, 400, {"product_id", "quantity", "message"}),
    ({"product_id": 1, "quantity": 1, "message": " \n"}, 400, {"message"}),
    ({"product_id": 1, "quantity": 1, "message": "x" * 2001}, 400, {"message"}),
    ({"product_id": 1, "quantity": 1, "message": "a\0b"}, 400, {"message"}),
    ({"product_id": 1, "quantity": 0, "message": ["?"], "to": "me"}, 400, {"quantity", "message", "to"}),
    ({"product_id": 20_001, "quantity": 1, "message": "?"}, 404, {"product_id"}),
    ({"product_id": 1, "quantity": 1, "message": "x" * (16 << 10)}, 413, {"body"}),
]


async def test_an_inquiry_is_refused_by_field(shop: Client) -> None:
    replies = [await shop.post("/inquiries", body, key=key_of(53)) for body, _, _ in BODIES]
    stranger = await shop.post("/inquiries", {})

    assert [(reply.status, set(faults(reply))) for reply in replies] == [each[1:] for each in BODIES]
    assert (stranger.status, set(faults(stranger))) == (401, {"X-API-Key"})
