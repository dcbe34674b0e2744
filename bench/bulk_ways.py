"""The ways to write many rows that are known, each on a connection of its own: ours, asyncpg's, psycopg's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg

from sipup_middleware import Database, PoolConfig
from sipup_middleware.database import Facade

__all__ = ("COLUMNS", "LOOP", "OURS", "TABLE", "UPSERT", "WAYS", "Row", "Write", "rows", "ways")

Row = tuple[Any, ...]
Write = Callable[[Sequence[Row]], Awaitable[object]]
Build = Callable[[str, AsyncExitStack], Awaitable[Write]]

COLUMNS = ("id", "name", "price", "amount", "made", "listed")
TABLE = """
    CREATE TABLE bulk (
        id int PRIMARY KEY, name text NOT NULL, price numeric(10, 2),
        amount int, made timestamptz, listed bool
    )
"""
OURS, UPSERT, LOOP = "sipup, insert_many", "sipup, upsert_many", "loop of execute"

_NAMES = ", ".join(COLUMNS)
_INSERT = f"INSERT INTO bulk ({_NAMES}) VALUES ($1, $2, $3, $4, $5, $6)"  # noqa: S608 (constants)
_MOST_PARAMETERS = 32_767


def rows(number: int) -> list[Row]:
    """Return so many rows, each with a key of its own."""
    made = datetime(2026, 1, 1, tzinfo=UTC)
    return [(each, f"item {each}", Decimal("12.34"), each % 7, made, True) for each in range(number)]


async def _facade(url: str, opened: AsyncExitStack) -> Facade:
    return await opened.enter_async_context(Database(url, pool=PoolConfig(min=1, max=1)).open())


async def _insert(url: str, opened: AsyncExitStack) -> Write:
    db = await _facade(url, opened)

    async def write(given: Sequence[Row]) -> None:
        await db.insert_many("bulk", given, columns=COLUMNS)

    return write


async def _upsert(url: str, opened: AsyncExitStack) -> Write:
    db = await _facade(url, opened)

    async def write(given: Sequence[Row]) -> None:
        await db.upsert_many("bulk", given, columns=COLUMNS, key="id")

    return write


async def _asyncpg(url: str, opened: AsyncExitStack) -> asyncpg.Connection[Any]:
    connection = await asyncpg.connect(url)
    opened.push_async_callback(connection.close)
    return connection


async def _loop(url: str, opened: AsyncExitStack) -> Write:
    connection = await _asyncpg(url, opened)

    async def write(given: Sequence[Row]) -> None:
        async with connection.transaction():
            for row in given:
                await connection.execute(_INSERT, *row)

    return write


async def _executemany(url: str, opened: AsyncExitStack) -> Write:
    connection = await _asyncpg(url, opened)

    async def write(given: Sequence[Row]) -> None:
        await connection.executemany(_INSERT, given)

    return write


async def _multi_values(url: str, opened: AsyncExitStack) -> Write:
    connection = await _asyncpg(url, opened)
    width = len(COLUMNS)
    most = min(1000, _MOST_PARAMETERS // width)

    async def write(given: Sequence[Row]) -> None:
        async with connection.transaction():
            for first in range(0, len(given), most):
                part = given[first : first + most]
                places = (
                    f"({', '.join(f'${width * row + column}' for column in range(1, width + 1))})"
                    for row in range(len(part))
                )
                sql = f"INSERT INTO bulk ({_NAMES}) VALUES {', '.join(places)}"  # noqa: S608 (constants)
                await connection.execute(sql, *(value for row in part for value in row))

    return write


async def _copy_records(url: str, opened: AsyncExitStack) -> Write:
    connection = await _asyncpg(url, opened)

    async def write(given: Sequence[Row]) -> None:
        await connection.copy_records_to_table("bulk", records=given, columns=COLUMNS)

    return write


async def _psycopg(url: str, opened: AsyncExitStack) -> Write:
    import psycopg  # noqa: PLC0415 (a peer that is not there is listed, not fatal)

    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    opened.push_async_callback(connection.close)

    async def write(given: Sequence[Row]) -> None:
        async with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY bulk ({_NAMES}) FROM STDIN") as copy,
        ):
            for row in given:
                await copy.write_row(row)

    return write


WAYS: dict[str, Build] = {
    OURS: _insert,
    UPSERT: _upsert,
    LOOP: _loop,
    "multi-row VALUES": _multi_values,
    "asyncpg, executemany": _executemany,
    "asyncpg, copy_records_to_table": _copy_records,
    "psycopg, copy": _psycopg,
}


async def ways(url: str, opened: AsyncExitStack) -> dict[str, Write | str]:
    """Build each of `WAYS`; one that cannot run is its error."""
    built: dict[str, Write | str] = {}
    for name, build in WAYS.items():
        try:
            built[name] = await build(url, opened)
        except Exception as error:  # noqa: BLE001 (whatever keeps a peer from running is the finding)
            built[name] = f"{type(error).__name__}: {error}"
    return built
