"""Many rows into a real PostgreSQL: what is written, in how many round trips, what is said of a bad one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import anyio
import anyio.to_thread
import asyncpg
import pytest

from sipup_middleware.database import Database, Facade, Identifier, PoolConfig
from sipup_middleware.errors import ConfigurationError, RowRefused
from tests.database.doubles import wire_to

pytestmark = pytest.mark.live

COLUMNS = ("id", "name", "code", "price", "amount", "supplier")


def record(number: int, **other: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"item {number}",
        "code": "abc",
        "price": Decimal("12.50"),
        "amount": number,
        "supplier": 1,
        **other,
    }


def records(number: int) -> list[dict[str, Any]]:
    return [record(each) for each in range(number)]


async def counted(db: Facade, table: str = "items") -> int:
    count: int = await db.fetchval(f"SELECT count(*) FROM {Identifier.parse(table)}")  # noqa: S608 (quoted)
    return count


async def one_by_one(number: int) -> AsyncIterator[dict[str, Any]]:
    for each in records(number):
        yield each


@pytest.mark.parametrize("number", [1, 99, 100, 250])
async def test_mappings_are_written_and_counted(db: Facade, table: str, number: int) -> None:
    result = await db.insert_many(table, records(number))

    assert (result.inserted, result.updated, result.failed) == (number, 0, ())
    assert [dict(row) for row in await db.fetch("SELECT * FROM items ORDER BY id")] == records(number)


async def test_sequences_are_written_into_the_columns_named_or_all(db: Facade, table: str) -> None:
    await db.insert_many(table, ([each, f"item {each}"] for each in range(150)), columns=["id", "name"])
    await db.insert_many(table, [tuple(record(200).values())])

    assert await counted(db) == 151
    assert await db.fetchval("SELECT price FROM items WHERE id = 200") == Decimal("12.50")


async def test_rows_that_were_fetched_may_be_written(db: Facade, table: str) -> None:
    await db.insert_many(table, records(120))
    await db.execute("CREATE TABLE copies (LIKE items)")

    await db.insert_many("copies", await db.fetch("SELECT * FROM items"))

    assert await counted(db, "copies") == 120
    await db.execute("DROP TABLE copies")


async def test_an_async_iterable_is_read_a_batch_at_a_time(db: Facade, table: str) -> None:
    seen: list[tuple[int, int | None]] = []

    result = await db.insert_many(
        table, one_by_one(1050), batch=500, progress=lambda *done: seen.append(done)
    )

    assert result.inserted == await counted(db) == 1050
    assert seen == [(500, None), (1000, None), (1050, None)]


async def test_memory_is_bounded_by_the_batch(db: Facade, table: str) -> None:
    alive, most = 0, 0

    class Tracked(dict[str, Any]):
        def __init__(self, number: int) -> None:
            nonlocal alive, most
            super().__init__(record(number))
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    await db.insert_many(table, map(Tracked, range(5_000)), batch=500)

    assert await counted(db) == 5_000
    assert most < 2_000


async def test_progress_knows_how_many_there_are(db: Facade, table: str) -> None:
    seen: list[tuple[int, int | None]] = []

    await db.insert_many(table, records(300), batch=200, progress=lambda *done: seen.append(done))

    assert seen == [(200, 300), (300, 300)]


async def test_nothing_is_done_for_no_records(db: Facade) -> None:
    result = await db.insert_many("no such table", [])

    assert result.inserted == 0


async def test_a_thousand_rows_are_at_most_three_round_trips(
    database_url: str, db: Facade, table: str
) -> None:
    async with (
        wire_to(database_url) as wire,
        Database(wire.url, pool=PoolConfig(min=0, max=1)).open() as wired,
    ):
        await wired.fetch("SELECT 1")

        with wire.counting() as cold:
            await wired.insert_many(table, records(1000))
        with wire.counting() as warm:
            await wired.insert_many(table, [record(each) for each in range(1000, 2000)])
        with wire.counting() as few:
            await wired.insert_many(table, [record(2000)])

    assert cold[0] <= 3
    assert warm[0] <= 2
    assert few[0] <= 2
    assert await counted(db) == 2001


async def test_a_batch_is_one_write_to_who_listens(db: Facade, table: str) -> None:
    told: list[tuple[str, bool]] = []
    db.meters.on_statement.append(
        lambda runner, statement, seconds, error: told.append((statement.sql, statement.traits.reads))
    )

    await db.insert_many(table, ((each, "x") for each in range(600)), columns=["id", "name"], batch=200)

    assert told == [('COPY "items" ("id", "name") FROM STDIN', False)] * 3


async def test_the_schema_is_named_before_the_dot(db: Facade) -> None:
    await db.execute('CREATE SCHEMA "Shop"')
    await db.execute('CREATE TABLE "Shop"."a.b" (i int)')

    await db.insert_many(Identifier("Shop", "a.b"), [{"i": each} for each in range(100)])
    with pytest.raises(asyncpg.UndefinedTableError):
        await db.insert_many("Shop.nothing", [{"i": 1}])

    assert await db.fetchval('SELECT count(*) FROM "Shop"."a.b"') == 100
    await db.execute('DROP SCHEMA "Shop" CASCADE')


async def test_a_name_is_quoted_never_run(db: Facade, table: str) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await db.insert_many("items; DROP TABLE items", records(100))
    with pytest.raises(asyncpg.UndefinedColumnError):
        await db.insert_many(table, [{'id") VALUES (1); DROP TABLE items --': 1}])

    assert await counted(db) == 0


BAD: list[tuple[dict[str, Any], str | None, str]] = [
    ({"amount": "seven"}, "amount", "expected integer, got str (TypeError)"),
    ({"amount": 2**40}, "amount", "expected integer, got int (OverflowError)"),
    ({"name": 7}, "name", "expected text, got int (TypeError)"),
    ({"name": None}, "name", "NotNullViolationError, expected text"),
    ({"code": "abcdefg"}, "code", "StringDataRightTruncationError, expected character varying(3)"),
    ({"price": Decimal(10**7)}, "price", "NumericValueOutOfRangeError, expected numeric(6,2)"),
    ({"amount": -4711}, "amount", "CheckViolationError of items_amount_check, expected integer"),
    ({"supplier": 4711}, "supplier", "ForeignKeyViolationError of items_supplier_fkey, expected integer"),
    ({"id": 3}, "id", "UniqueViolationError of items_pkey, expected integer"),
]


@pytest.mark.parametrize("number", [20, 300])
@pytest.mark.parametrize("bad", BAD, ids=[each[2] for each in BAD])
async def test_a_bad_value_is_told_by_its_row_and_column(
    db: Facade, table: str, number: int, bad: tuple[dict[str, Any], str | None, str]
) -> None:
    wrong, column, reason = bad
    given = records(number)
    given[17] |= wrong

    with pytest.raises(RowRefused) as refused:
        await db.insert_many(table, given)

    assert (refused.value.index, refused.value.column, refused.value.reason) == (17, column, reason)
    assert str(refused.value) == f"record 17, column {column}: {reason}"
    assert refused.value.__context__ is None, "the driver's error would be printed with it, and the value"
    assert await counted(db) == 0


@pytest.mark.parametrize(
    ("odd", "column", "reason"),
    [
        ({"id": 1}, "name", "is missing"),
        ({**record(1), "more": 1}, None, "has 7 keys, where the first record has 6"),
        ((1, 2), None, "has 2 values for 6 columns"),
        ("abcdef", None, "is neither a mapping nor a sequence, but str"),
        (7, None, "is neither a mapping nor a sequence, but int"),
    ],
)
async def test_a_record_of_another_shape_is_refused(
    db: Facade, table: str, odd: object, column: str | None, reason: str
) -> None:
    with pytest.raises(RowRefused) as refused:
        await db.insert_many(table, [record(0), odd])

    assert (refused.value.index, refused.value.column, refused.value.reason) == (1, column, reason)


async def test_keys_beyond_the_columns_named_are_left_out(db: Facade, table: str) -> None:
    await db.insert_many(table, [{**record(1), "more": 1}], columns=COLUMNS)

    assert await counted(db) == 1


async def test_a_later_batch_that_fails_takes_the_earlier_ones_back(db: Facade, table: str) -> None:
    given = records(600)
    given[555]["amount"] = -1

    with pytest.raises(RowRefused, match="record 555, column amount"):
        await db.insert_many(table, given, batch=200)

    assert await counted(db) == 0


@pytest.mark.parametrize("batch", [90, 200, 5_000])
@pytest.mark.parametrize("inside", [True, False])
async def test_the_others_are_written_where_errors_are_collected(
    db: Facade, table: str, *, batch: int, inside: bool
) -> None:
    given: list[Any] = records(400)
    wrong = {7: "amount", 8: "amount", 150: "code", 250: "supplier", 399: "name"}
    for index, value in zip(wrong, ("x", -1, "abcd", 4711, None), strict=True):
        given[index][wrong[index]] = value
    given[10] = ("too", "short")

    if inside:
        async with db.transaction():
            result = await db.insert_many(table, given, on_error="collect", batch=batch)
            assert await db.fetchval("SELECT 1") == 1
    else:
        result = await db.insert_many(table, given, on_error="collect", batch=batch)

    assert [(row.index, row.column) for row in result.failed] == sorted([*wrong.items(), (10, None)])
    assert result.inserted == await counted(db) == 394
    assert not {"x", "4711", "abcd"} & set(" ".join(row.reason for row in result.failed).split())


async def test_a_batch_of_which_nothing_fits_is_collected_too(db: Facade, table: str) -> None:
    given = [record(each, amount="x") for each in range(150)]

    result = await db.insert_many(table, given, on_error="collect")

    assert (result.inserted, len(result.failed)) == (0, 150)


async def test_a_refused_write_leaves_the_transaction_around_it_usable(db: Facade, table: str) -> None:
    async with db.transaction():
        await db.insert_many(table, [record(1)])
        for number in (3, 300):
            with pytest.raises(RowRefused):
                await db.insert_many(table, [record(each + 10, amount=-1) for each in range(number)])
        await db.insert_many(table, [record(2)])

    assert await counted(db) == 2


async def test_what_is_rolled_back_around_it_is_gone(db: Facade, table: str) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 (the block is what is tested)
        async with db.transaction():
            await db.insert_many(table, records(200))
            raise ZeroDivisionError

    assert await counted(db) == 0


async def test_an_error_of_who_gives_the_records_flies_and_nothing_is_kept(db: Facade, table: str) -> None:
    async def failing() -> AsyncIterator[dict[str, Any]]:
        for each in records(650):
            yield each
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        await db.insert_many(table, failing(), batch=200)

    assert await counted(db) == 0


async def test_a_generator_that_is_not_used_up_is_closed(db: Facade, table: str) -> None:
    closed: list[bool] = []

    async def given() -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                yield record(1)
        finally:
            closed.append(True)

    with pytest.raises(RowRefused):
        await db.insert_many(table, given(), batch=10)

    assert closed == [True]


async def test_what_is_no_fault_of_a_row_flies_as_it_is(db: Facade) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await db.insert_many("nowhere", records(200), on_error="collect")


async def test_a_table_that_copy_does_not_take_is_written_by_insert(db: Facade, table: str) -> None:
    await db.execute("CREATE ROLE tenant")
    await db.execute("GRANT ALL ON items, suppliers TO tenant")
    await db.execute("ALTER TABLE items ENABLE ROW LEVEL SECURITY")
    await db.execute("CREATE POLICY mine ON items USING (true)")
    try:
        async with db.transaction():
            await db.execute("SET LOCAL ROLE tenant")
            result = await db.insert_many(table, records(300), batch=150)
    finally:
        await db.execute("DROP POLICY mine ON items")
        await db.execute("REVOKE ALL ON items, suppliers FROM tenant")
        await db.execute("DROP ROLE tenant")

    assert result.inserted == await counted(db) == 300


async def test_a_type_without_a_binary_form_is_written_by_insert(db: Facade) -> None:
    await db.execute("CREATE TABLE rights (id int, item aclitem)")

    result = await db.insert_many("rights", [(each, "postgres=r/postgres") for each in range(150)])

    assert result.inserted == await counted(db, "rights") == 150
    await db.execute("DROP TABLE rights")


async def test_a_write_that_is_cancelled_leaves_nothing_behind(db: Facade, table: str) -> None:
    async def stuck() -> AsyncIterator[dict[str, Any]]:
        for each in records(150):
            yield each
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await db.insert_many(table, stuck(), batch=50)

    assert scope.cancelled_caught
    assert await counted(db) == 0
    assert db.pool.stats()["in_use"] == 0


async def test_a_thread_may_write_many_too(db: Facade, table: str) -> None:
    result = await anyio.to_thread.run_sync(lambda: db.sync.run(db.insert_many, table, records(200)))

    assert result.inserted == await counted(db) == 200


@pytest.mark.parametrize("number", [5, 150])
async def test_identity_and_generated_columns(db: Facade, number: int) -> None:
    await db.execute("""
        CREATE TABLE ids (
            id int GENERATED ALWAYS AS IDENTITY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED
        )
    """)

    await db.insert_many("ids", [(each, each) for each in range(number)])

    assert await db.fetchval("SELECT sum(twice) - sum(id + n) FROM ids") == 0
    await db.execute("DROP TABLE ids")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch"),
        ({"on_error": "ignore"}, "on_error"),
        ({"columns": []}, "columns"),
        ({"columns": ["id", "id"]}, "columns"),
        ({"columns": "id"}, "columns"),
    ],
)
async def test_nonsense_is_refused_by_name(db: Facade, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await db.insert_many("items", [{"id": 1}], **options)
