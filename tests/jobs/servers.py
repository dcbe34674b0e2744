"""Databases of the tests' own, beside those that other tests use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import asyncpg

__all__ = ("new_database", "rows_of", "run_sql")

_NOTES = """
CREATE TABLE notes (
    id bigserial PRIMARY KEY, word text, job text, attempt int, at timestamptz DEFAULT clock_timestamp()
)
"""


async def rows_of(url: str, sql: str, *args: object) -> list[Any]:
    """Run one statement, on the asyncio loop that asks."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql, *args))
    finally:
        await connection.close()


def run_sql(url: str, sql: str, *args: object) -> list[Any]:
    """Run one statement, where no loop runs."""
    return asyncio.run(rows_of(url, sql, *args))


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    """Make a database with a table of notes, and none of ours; drop it afterwards."""
    name = f"jobs_{token_hex(4)}"
    run_sql(server_url, f"CREATE DATABASE {name}")
    url = urlsplit(server_url)._replace(path=f"/{name}").geturl()
    run_sql(url, _NOTES)
    try:
        yield url
    finally:
        run_sql(server_url, f"DROP DATABASE {name} WITH (FORCE)")
