"""Records of any kind, in batches of tuples: mappings or sequences, from an iterable or an async one.

They are taken on the caller's own thread, a batch at a time, however many there are.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Any

from sipup_middleware.errors import ConfigurationError

__all__ = ("Batch", "MisfitError", "Records", "Row", "Shape", "chunks", "columns_of")

Records = Iterable[Any] | AsyncIterable[Any]
Row = tuple[Any, ...]


@dataclass(slots=True)
class Batch:
    """Rows, and each one's place among all records."""

    numbers: Sequence[int]
    rows: list[Row]

    def part(self, first: int, last: int) -> Batch:
        """Return the rows from *first* to before *last*."""
        return Batch(self.numbers[first:last], self.rows[first:last])


class MisfitError(Exception):
    """Raised when a record has not the columns of the others; never leaves the package."""

    def __init__(self, column: str | None, reason: str) -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason


class Shape:
    """How a record becomes a row."""

    __slots__ = ("_exact", "_pick", "_width")

    def __init__(self, columns: Sequence[str], *, exact: bool) -> None:
        self._exact = exact
        """A mapping may have no key beyond the columns: nobody said that it is to be left out."""
        self._width = len(columns)
        pick: Callable[[Any], Any] = itemgetter(*columns)
        self._pick: Callable[[Any], Row] = pick if len(columns) > 1 else lambda record: (pick(record),)

    def rows(self, records: list[Any]) -> list[Row] | None:
        """Return *records* as rows, at the speed of C; None where they are not all alike."""
        kinds = set(map(type, records))
        if kinds == {tuple}:
            return records if set(map(len, records)) == {self._width} else None
        if kinds != {dict} or (self._exact and set(map(len, records)) != {self._width}):
            return None
        try:
            return list(map(self._pick, records))
        except KeyError:
            return None

    def row(self, record: Any) -> Row:  # noqa: ANN401 (what the caller has)
        """Return *record* as a row; raises `MisfitError`."""
        if not hasattr(record, "keys"):
            return self._of_sequence(record)
        try:
            row = self._pick(record)
        except KeyError as missing:
            raise MisfitError(str(missing.args[0]), "is missing") from None
        if self._exact and len(record) != self._width:
            raise MisfitError(None, f"has {len(record)} keys, where the first record has {self._width}")
        return row

    def _of_sequence(self, record: Any) -> Row:  # noqa: ANN401 (what the caller has)
        if isinstance(record, (str, bytes)) or not isinstance(record, Iterable):
            raise MisfitError(None, f"is neither a mapping nor a sequence, but {type(record).__name__}")
        row = tuple(record)
        if len(row) != self._width:
            raise MisfitError(None, f"has {len(row)} values for {self._width} columns")
        return row


def columns_of(record: object, columns: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return *columns*, else the keys of the first record; None where it has none.

    Raises `ConfigurationError` where they are not at least one, each once.
    """
    if isinstance(columns, str):
        raise ConfigurationError(f"columns must be a sequence of names, not the text {columns!r}")
    if columns is None:
        keys = getattr(record, "keys", None)
        if keys is None:
            return None
        columns = tuple(keys())
    if not columns or len(set(columns)) < len(columns):
        raise ConfigurationError(f"columns must be at least one, each once, not {list(columns)}")
    return tuple(columns)


async def chunks(records: Records, size: int) -> AsyncGenerator[list[Any], None]:
    """Yield *records*, up to *size* at a time; nothing where there are none."""
    if not isinstance(records, AsyncIterable):
        iterator = iter(records)
        while chunk := list(islice(iterator, size)):
            yield chunk
        return
    try:
        rest = aiter(records)
        while chunk := await _gathered(rest, size):
            yield chunk
    finally:
        if isinstance(records, AsyncGenerator):  # it was given to be used up, and nobody else has it
            await records.aclose()


async def _gathered(rest: AsyncIterator[Any], size: int) -> list[Any]:
    found: list[Any] = []
    async for record in rest:
        found.append(record)
        if len(found) == size:
            break
    return found
