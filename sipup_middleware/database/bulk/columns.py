"""What the server's catalog says of a table: its columns, their types, and what its constraints are over.

Read once a bulk write that needs it, by one statement, on the connection that writes: so a search path that
the transaction has set counts, and nothing grows stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sipup_middleware.database.identifiers import Identifier
from sipup_middleware.errors import ConfigurationError

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("Column", "Table", "column_of", "read_table")

_COLUMNS = """
    SELECT a.attname::text AS name, format_type(a.atttypid, -1) AS type,
           format_type(a.atttypid, a.atttypmod) AS shown,
           t.typarray = 0 OR t.typcategory = 'A' OR t.typtype = 'm' AS nested,
           c.relkind = 'r' AS plain
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE c.oid = to_regclass($1)
    ORDER BY a.attnum
"""
_CONSTRAINED = """
    SELECT min(a.attname::text)
    FROM pg_constraint k
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
    WHERE k.conrelid = to_regclass($1) AND k.conname = $2
    HAVING count(*) = 1
"""


@dataclass(frozen=True, slots=True)
class Column:
    """One that can be written to."""

    name: str
    type: str
    """As it stands in a cast: without a length, which a cast would enforce by cutting."""

    shown: str
    """As it stands in the table's definition."""

    nested: bool
    """An array of its values would be taken for one array of more dimensions."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table's writable columns, in its own order."""

    name: Identifier
    columns: tuple[Column, ...]
    plain: bool
    """Its rows are its own, with system columns: no partitions, no view."""

    by_name: dict[str, Column] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {column.name: column for column in self.columns})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all its columns."""
        return tuple(column.name for column in self.columns)

    def of(self, names: Sequence[str]) -> tuple[Column, ...]:
        """Return the columns *names*; raises `ConfigurationError` for one that is not there."""
        if unknown := [name for name in names if name not in self.by_name]:
            raise ConfigurationError(f"{self.name} has no column {unknown[0]!r} that can be written to")
        return tuple(self.by_name[name] for name in names)


async def read_table(db: Facade, name: Identifier) -> Table:
    """Ask the server; raises `ConfigurationError` where there is no such table."""
    rows = await db.fetch(_COLUMNS, str(name))
    if not rows:
        raise ConfigurationError(f"there is no table {name} that can be written to")
    columns = (Column(row["name"], row["type"], row["shown"], row["nested"]) for row in rows)
    return Table(name, tuple(columns), plain=rows[0]["plain"])


async def column_of(db: Facade, name: Identifier, constraint: str) -> str | None:
    """Return the one column that *constraint* is over; None where it is over several."""
    column: str | None = await db.fetchval(_CONSTRAINED, str(name), constraint)
    return column
