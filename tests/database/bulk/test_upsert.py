"""Records over those that are there."""

from __future__ import annotations

from typing import Any

import pytest

from sipup_middleware.database import Facade
from sipup_middleware.errors import ConfigurationError, RowRefused
from tests.database.bulk.test_insert import counted, record, records

pytestmark = pytest.mark.live


@pytest.mark.parametrize("number", [1, 300])
async def test_what_is_new_is_inserted_and_what_is_there_updated(db: Facade, table: str, number: int) -> None:
    await db.insert_many(table, records(number))

    result = await db.upsert_many(
        table, [record(each, name="new") for each in range(number // 2, 2 * number)], key="id", batch=200
    )

    assert (result.inserted, result.updated) == (number, number - number // 2)
    assert await db.fetchval("SELECT count(*) FROM items WHERE name = 'new'") == 2 * number - number // 2


async def test_only_the_columns_named_are_updated(db: Facade, table: str) -> None:
    await db.insert_many(table, [record(1)])

    await db.upsert_many(table, [record(1, name="new", code="x")], key=["id"], update=["code"])

    row = await db.fetchrow("SELECT name, code FROM items")
    assert row is not None
    assert tuple(row) == ("item 1", "x")


async def test_with_nothing_to_update_what_is_there_stays(db: Facade, table: str) -> None:
    await db.insert_many(table, [record(1)])

    result = await db.upsert_many(table, [record(1, name="new"), record(2)], key="id", update=())

    assert (result.inserted, result.updated) == (1, 0)
    assert await db.fetchval("SELECT name FROM items WHERE id = 1") == "item 1"


@pytest.mark.parametrize("batch", [2, 5_000])
@pytest.mark.parametrize(("rule", "name"), [("last", "c"), ("first", "a")])
async def test_of_records_with_one_key_one_is_taken(
    db: Facade, table: str, rule: Any, name: str, batch: int
) -> None:
    given = [record(1, name="a"), record(1, name="b"), record(2), record(1, name="c")]

    result = await db.upsert_many(table, given, key="id", on_duplicate=rule, batch=batch)

    assert await db.fetchval("SELECT name FROM items WHERE id = 1") == name
    assert await counted(db) == 2
    assert result.inserted + result.updated + result.duplicates == 4


async def test_a_second_of_one_key_can_be_an_error(db: Facade, table: str) -> None:
    given = [record(1), record(2), record(1)]

    with pytest.raises(RowRefused, match="record 2, column id: has the key of record 0"):
        await db.upsert_many(table, given, key="id", on_duplicate="error")
    collected = await db.upsert_many(table, given, key="id", on_duplicate="error", on_error="collect")

    assert [row.index for row in collected.failed] == [2]
    assert await counted(db) == 2


async def test_keys_that_only_the_server_finds_equal_are_written_one_after_the_other(db: Facade) -> None:
    await db.execute("CREATE TABLE names (name char(3) PRIMARY KEY, n int)")

    result = await db.upsert_many("names", [("a", 1), ("b", 2), ("a ", 3)], key="name")

    assert (result.inserted, result.updated) == (2, 1)
    assert await db.fetchval("SELECT n FROM names WHERE name = 'a'") == 3
    await db.execute("DROP TABLE names")


async def test_a_key_of_several_columns_and_arrays_domains_and_enums(db: Facade) -> None:
    await db.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    await db.execute("CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
    await db.execute("""
        CREATE TABLE kinds (a int, b bpchar, tags text[], mood mood, n positive, PRIMARY KEY (a, b));
        CREATE TABLE flat (a int, b char(4), mood mood, n positive, PRIMARY KEY (a, b))
    """)
    rows = [
        {"a": each, "b": "long", "tags": ["x", f"{each}"], "mood": "glad", "n": each + 1} for each in range(3)
    ]

    for table, columns in (("kinds", None), ("flat", ["a", "b", "mood", "n"])):
        first = await db.upsert_many(table, rows, key=["a", "b"], columns=columns)
        again = await db.upsert_many(table, rows, key=["a", "b"], columns=columns)

        assert (first.inserted, first.updated, again.inserted, again.updated) == (3, 0, 0, 3)

    assert await db.fetchval("SELECT tags FROM kinds WHERE a = 2") == ["x", "2"]
    assert await db.fetchval("SELECT min(length(b)) FROM flat") == 4
    await db.execute("DROP TABLE kinds, flat")
    await db.execute("DROP DOMAIN positive")
    await db.execute("DROP TYPE mood")


async def test_rows_of_a_partitioned_table_are_counted_too(db: Facade) -> None:
    await db.execute("CREATE TABLE parts (id int PRIMARY KEY, name text) PARTITION BY HASH (id)")
    await db.execute("CREATE TABLE part_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)")

    first = await db.upsert_many("parts", [(1, "a"), (2, "b")], key="id")
    again = await db.upsert_many("parts", [(2, "c"), (3, "d")], key="id")

    assert (first.inserted, first.updated, again.inserted, again.updated) == (2, 0, 1, 1)
    await db.execute("DROP TABLE parts")


@pytest.mark.parametrize(
    ("wrong", "column"),
    [
        ({"amount": "x"}, "amount"),
        ({"amount": -1}, "amount"),
        ({"name": None}, "name"),
        ({"supplier": 9}, "supplier"),
    ],
)
async def test_a_bad_value_is_told_by_its_row_and_column(
    db: Facade, table: str, wrong: dict[str, Any], column: str
) -> None:
    given = records(200)
    given[123] |= wrong

    with pytest.raises(RowRefused) as refused:
        await db.upsert_many(table, given, key="id")
    collected = await db.upsert_many(table, given, key="id", on_error="collect")

    assert (refused.value.index, refused.value.column) == (123, column)
    assert [(row.index, row.column) for row in collected.failed] == [(123, column)]
    assert collected.inserted == await counted(db) == 199


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": ()}, "key"),
        ({"key": "nothing"}, "key names the column 'nothing'"),
        ({"key": "id", "update": ["nothing"]}, "update names the column 'nothing'"),
        ({"key": "id", "update": "name"}, "update"),
        ({"key": "id", "on_duplicate": "any"}, "on_duplicate"),
        ({"key": "id", "columns": ["id", "nothing"]}, "no column 'nothing'"),
    ],
)
async def test_nonsense_is_refused_by_name(
    db: Facade, table: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await db.upsert_many(
            table, [{**record(1), "nothing": 1} if "columns" in options else record(1)], **options
        )


async def test_a_table_that_is_not_there_is_refused(db: Facade) -> None:
    with pytest.raises(ConfigurationError, match='no table "nowhere"'):
        await db.upsert_many("nowhere", [record(1)], key="id")
