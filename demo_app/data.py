"""The marketplace's tables and rows, made inside PostgreSQL in a few seconds. It blocks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg

from sipup_middleware.errors import ConfigurationError, DatabaseUnavailable

__all__ = ("load",)

_HERE = Path(__file__).parent
_VERSION = 1
_LOCK = 0x5160_DE30
"""What two that load at once both lock: one loads, the other finds it done."""


def load(url: str) -> bool:
    """Fill the database at *url*; False = it was filled before and is left as it is.

    Raises `ConfigurationError` where it holds something else, `DatabaseUnavailable` where nothing answers.
    """
    return asyncio.run(_load(url))


async def _load(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailable(f"PostgreSQL cannot be reached ({type(error).__name__})") from None
    try:
        async with connection.transaction():
            if await _is_loaded(connection):
                return False
            await _fill(connection)
        await connection.execute("ANALYZE")
        return True
    finally:
        await connection.close()


async def _is_loaded(connection: asyncpg.Connection) -> bool:
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    if await connection.fetchval("SELECT to_regclass('demo_data')") is None:
        return False
    version = await connection.fetchval("SELECT version FROM demo_data")
    if version != _VERSION:
        raise ConfigurationError(
            f"this database holds version {version} of the demo's data, and {_VERSION} is needed: "
            "give an empty database"
        )
    return True


async def _fill(connection: asyncpg.Connection) -> None:
    try:
        await connection.execute((_HERE / "schema.sql").read_text("utf-8"))
    except asyncpg.DuplicateTableError:
        raise ConfigurationError(
            "this database has tables of somebody else's: give an empty database"
        ) from None
    await connection.execute("SET LOCAL work_mem = '64MB'")
    await connection.execute((_HERE / "data.sql").read_text("utf-8"))
    await connection.execute("INSERT INTO demo_data (version) VALUES ($1)", _VERSION)
