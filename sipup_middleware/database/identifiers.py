"""Names of tables and columns that come from data: checked and quoted, to stand where no ``$1`` may.

A name is taken as it is written: ``Products`` is another table than ``products``.
"""

from __future__ import annotations

from sipup_middleware.errors import ConfigurationError

__all__ = ("Identifier", "quote_identifier")

_LONGEST = 63
"""Bytes; PostgreSQL cuts what is longer, and may then meet another object."""


class Identifier:
    """The quoted name of a table, in its schema if one is given; an f-string puts it into SQL.

    ``Identifier("public", "events")``. A name may hold dots, spaces and quotes; `Identifier.parse` reads
    ``"public.events"``, where a dot parts schema and table.
    """

    __slots__ = ("parts",)

    def __init__(self, *parts: str) -> None:
        if not 1 <= len(parts) <= 2:  # noqa: PLR2004 (a schema and a name)
            raise ConfigurationError(
                f"an identifier is a name, or a schema and a name, not {len(parts)} parts"
            )
        for part in parts:
            _check(part)
        self.parts = parts

    @classmethod
    def parse(cls, name: str | Identifier) -> Identifier:
        """Return *name* as an identifier: ``events`` or ``public.events``."""
        return name if isinstance(name, Identifier) else cls(*name.split("."))

    def __str__(self) -> str:
        return ".".join(map(_quoted, self.parts))

    def __repr__(self) -> str:
        return f"Identifier({', '.join(map(repr, self.parts))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identifier) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)


def quote_identifier(name: str) -> str:
    """Return one name, of a column or a table, as it may stand in SQL; raises `ConfigurationError`."""
    _check(name)
    return _quoted(name)


def _quoted(name: str) -> str:
    return f'"{name.replace(chr(34), chr(34) * 2)}"'


def _check(name: str) -> None:
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise ConfigurationError("an identifier must be text that UTF-8 can hold") from None
    if not name or "\0" in name:
        raise ConfigurationError(f"an identifier must not be empty or hold NUL, as {name!r} does")
    if length > _LONGEST:
        raise ConfigurationError(
            f"an identifier may have {_LONGEST} bytes, not {length}: {name[:_LONGEST]!r}..."
        )
