from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sipup_middleware.database import Facade


@pytest.fixture
async def table(db: Facade) -> AsyncIterator[str]:
    """A table of six columns; one of them has a check, one refers to another table."""
    await db.execute("CREATE TABLE suppliers (id int PRIMARY KEY)")
    await db.execute("INSERT INTO suppliers VALUES (1)")
    await db.execute("""
        CREATE TABLE items (
            id int PRIMARY KEY, name text NOT NULL, code varchar(3), price numeric(6, 2),
            amount int CHECK (amount >= 0), supplier int REFERENCES suppliers
        )
    """)
    yield "items"
    await db.execute("DROP TABLE items, suppliers")
