"""The write: what it changes, and what it makes a miss."""

from __future__ import annotations

from tests.demo.conftest import Client, cache_status


async def test_a_new_price_is_what_everybody_sees_next(shop: Client) -> None:
    before = await shop.get("/products/21")
    changed = await shop.put_price(21, {"price": "31.4"})
    after = await shop.get("/products/21")
    again = await shop.get("/products/21")

    assert before.status == 200
    assert changed.json() == {"id": 21, "price": "31.40"}
    assert cache_status(after) == "fwd=uri-miss"
    assert after.json()["price"] == "31.40"
    assert cache_status(again) == "hit"


async def test_it_purges_what_showed_the_product_or_sorts_by_price_and_nothing_else(shop: Client) -> None:
    product = (await shop.get("/products")).json()["items"][3]
    stale = [
        f"/products/{product['id']}",
        f"/suppliers/{product['supplier_id']}",
        "/products",
        "/products?sort=price",
        "/products?sort=-price&page=9",
    ]
    fresh = ["/products/22", "/products?page=40", "/products?sort=name", "/categories"]
    for target in stale + fresh:
        await shop.get(target)

    await shop.put_price(product["id"], {"price": "15.00"})

    assert [cache_status(await shop.get(target)) for target in stale] == ["fwd=uri-miss"] * len(stale)
    assert [cache_status(await shop.get(target)) for target in fresh] == ["hit"] * len(fresh)


async def test_every_price_in_range_is_taken(shop: Client) -> None:
    for given, kept in (("0.01", "0.01"), ("7", "7.00"), ("1000000.00", "1000000.00")):
        assert (await shop.put_price(23, {"price": given})).json() == {"id": 23, "price": kept}


async def test_a_refused_price_changes_and_purges_nothing(shop: Client) -> None:
    before = await shop.get("/products/24")
    refused = await shop.put_price(24, {"price": "-1"})
    after = await shop.get("/products/24")

    assert refused.status == 400
    assert cache_status(after) == "hit"
    assert after.body == before.body
