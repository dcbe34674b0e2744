"""The demo's rows: as many as promised, the same everywhere, and only once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from demo_app.data import load
from sipup_middleware.errors import ConfigurationError, DatabaseUnavailable
from sipup_middleware.services import Services
from tests.demo.conftest import run_sql

ROWS = {
    "categories": 40,
    "suppliers": 500,
    "products": 20_000,
    "buyers": 5_000,
    "inquiries": 3_000,
    "orders": 60_000,
    "order_items": 149_832,
}


@pytest.fixture
def other_url(services: Services) -> Iterator[str]:
    assert services.database_url
    name = f"other_{os.getpid()}"
    run_sql(services.database_url, f"CREATE DATABASE {name}")
    yield urlsplit(services.database_url)._replace(path=f"/{name}").geturl()
    run_sql(services.database_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_each_table_has_its_rows(demo_url: str) -> None:
    counts = {table: run_sql(demo_url, f"SELECT count(*) FROM {table}") for table in ROWS}  # noqa: S608 (our names)

    assert counts == ROWS


SOUND = {
    "an order's total is the sum of its items": """
        SELECT bool_and(total = items.sum) FROM orders
        JOIN (SELECT order_id, sum(quantity * unit_price) FROM order_items GROUP BY order_id) AS items
            ON items.order_id = orders.id
    """,
    "an order is for its supplier's products": """
        SELECT bool_and(p.supplier_id = o.supplier_id) FROM orders o
        JOIN order_items i ON i.order_id = o.id JOIN products p ON p.id = i.product_id
    """,
    "orders come in the order of their ids, over 24 months, by day": """
        SELECT bool_and(placed_at >= '2024-07-01Z' AND placed_at < '2026-07-01Z' AND placed_at > before
                        AND extract(hour FROM placed_at) BETWEEN 7 AND 18)
        FROM (SELECT placed_at, lag(placed_at, 1, '2024-01-01Z') OVER (ORDER BY id) AS before FROM orders)
    """,
    "suppliers have names of their own": "SELECT count(DISTINCT name) = 500 FROM suppliers",
    "every category has products": "SELECT count(DISTINCT category_id) = 40 FROM products",
    "prices are plausible": "SELECT bool_and(price BETWEEN 0.01 AND 5000) FROM products",
    "new rows get new ids": "SELECT nextval(pg_get_serial_sequence('products', 'id')) > 20000",
    "the planner knows the tables": """
        SELECT bool_and(reltuples > 0) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    """,
    "only primary keys are indexed": """
        SELECT bool_and(indisprimary) FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
        WHERE relnamespace = 'public'::regnamespace
    """,
}


@pytest.mark.parametrize("promise", SOUND)
def test_the_data_is_sound(demo_url: str, promise: str) -> None:
    assert run_sql(demo_url, SOUND[promise]) is True


def test_a_second_load_leaves_the_data_alone(demo_url: str) -> None:
    run_sql(demo_url, "UPDATE products SET price = 77.77 WHERE id = 19999")

    assert load(demo_url) is False
    assert str(run_sql(demo_url, "SELECT price FROM products WHERE id = 19999")) == "77.77"


def test_the_same_rows_are_made_each_time(demo_url: str, other_url: str) -> None:
    digest = "SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM orders t"

    assert load(other_url) is True

    assert run_sql(other_url, digest) == run_sql(demo_url, digest)


def test_of_two_that_load_at_once_one_does(other_url: str) -> None:
    async def both() -> list[bool]:
        return await asyncio.gather(*(asyncio.to_thread(load, other_url) for _ in range(2)))

    assert sorted(asyncio.run(both())) == [False, True]


def test_a_database_of_somebody_else_is_refused_and_left_as_it_was(other_url: str) -> None:
    run_sql(other_url, "CREATE TABLE orders (mine integer)")

    with pytest.raises(ConfigurationError, match="give an empty database"):
        load(other_url)

    assert run_sql(other_url, "SELECT to_regclass('categories')") is None


def test_data_of_another_version_is_refused(other_url: str) -> None:
    run_sql(other_url, "CREATE TABLE demo_data AS SELECT 0 AS version")

    with pytest.raises(ConfigurationError, match="version 0"):
        load(other_url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:secret@127.0.0.1:1/app",
        "mysql://app:secret@db/app",
        "postgresql://app:secret@db.invalid/app",
    ],
)
def test_an_unreachable_server_is_one_error_without_the_url(url: str) -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        load(url)

    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert not isinstance(raised.value, asyncpg.PostgresError)
