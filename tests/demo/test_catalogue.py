"""Reading the marketplace: what comes back, and that it comes from the cache the second time."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.demo.conftest import Client, cache_status

READS = [
    "/products/12",
    "/products",
    "/products?category=ball-bearings&q=thrust&sort=-price&page=2",
    "/suppliers/7",
    "/categories",
    "/reports/sales?month=2025-11",
]


async def test_what_was_read_once_is_a_hit(shop: Client) -> None:
    for target in READS:
        first = await shop.get(target)
        second = await shop.get(target)

        assert (first.status, second.status) == (200, 200)
        assert (cache_status(first), cache_status(second)) == ("fwd=uri-miss", "hit")
        assert first.body == second.body


async def test_a_product_is_shown_with_money_as_a_string(shop: Client) -> None:
    shown = (await shop.get("/products/1")).json()

    assert shown["id"] == 1
    assert shown["sku"] == "PNE-000001"
    assert shown["price"] == "107.55"
    assert shown["supplier"] == "Juno Drives B.V."
    assert shown["times_ordered"] == 75


async def test_a_list_has_twenty_a_page(shop: Client) -> None:
    first = (await shop.get("/products?category=drives&sort=name")).json()
    second = (await shop.get("/products?category=drives&sort=name&page=2")).json()
    last = (await shop.get(f"/products?category=drives&sort=name&page={first['pages']}")).json()

    names = [item["name"] for item in first["items"] + second["items"]]
    assert (first["page"], second["page"], first["size"]) == (1, 2, 20)
    assert len(names) == 40
    assert names == sorted(names)
    assert len(last["items"]) == first["total"] - 20 * (first["pages"] - 1)


@pytest.mark.parametrize(("sort", "sign"), [("price", 1), ("-price", -1)])
async def test_a_list_is_sorted_by_price(shop: Client, sort: str, sign: int) -> None:
    items = (await shop.get(f"/products?sort={sort}")).json()["items"]

    prices = [sign * Decimal(item["price"]) for item in items]
    assert prices == sorted(prices)


async def test_the_newest_come_first_by_default(shop: Client) -> None:
    items = (await shop.get("/products")).json()["items"]

    listed = [item["listed_at"] for item in items]
    assert listed == sorted(listed, reverse=True)


async def test_a_search_finds_by_name_in_any_case(shop: Client) -> None:
    found = (await shop.get("/products?q=SERVO%20drive")).json()

    assert found["total"] > 50
    assert all("servo drive" in item["name"].lower() for item in found["items"])


async def test_a_search_takes_wildcards_and_quotes_literally(shop: Client) -> None:
    for text in ("%25", "_", "%5C", "%27", "%22%3B--"):
        found = await shop.get(f"/products?q={text}")

        assert found.status == 200
        assert (found.json()["total"], found.json()["items"]) == (0, [])


async def test_a_supplier_shows_its_latest_products(shop: Client) -> None:
    shown = (await shop.get("/suppliers/7")).json()

    listed = [product["listed_at"] for product in shown["latest"]]
    assert shown["name"] == "Varga Fastening Co., Ltd"
    assert shown["products"] > len(listed) == 5
    assert listed == sorted(listed, reverse=True)


async def test_categories_count_what_their_lists_hold(shop: Client) -> None:
    counts = {each["slug"]: each["products"] for each in (await shop.get("/categories")).json()["items"]}
    pumps = (await shop.get("/products?category=pumps")).json()

    assert len(counts) == 40
    assert counts["pumps"] == pumps["total"]


async def test_a_report_adds_up(shop: Client) -> None:
    report = (await shop.get("/reports/sales?month=2025-12")).json()

    revenue = sum(Decimal(each["revenue"]) for each in report["by_category"])
    assert report["orders"] > 2000
    assert Decimal(report["revenue"]) == revenue
    assert len(report["top_suppliers"]) == 10


async def test_a_month_without_trade_is_a_report_of_nothing(shop: Client) -> None:
    report = (await shop.get("/reports/sales?month=2099-12")).json()

    assert (report["orders"], report["revenue"], report["average_order"]) == (0, "0.00", "0.00")
    assert report["by_category"] == report["top_suppliers"] == []
