"""COPY ... FROM as a statement of the facade's: with its connection, its errors and its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from operator import length_hint
from typing import TYPE_CHECKING, Any, cast

from sipup_middleware.database.bulk.faults import Fault, FaultError
from sipup_middleware.database.bulk.records import Row
from sipup_middleware.database.identifiers import Identifier, quote_identifier
from sipup_middleware.database.lease import Statement

if TYPE_CHECKING:
    from sipup_middleware.database.backend import Connection, Session

__all__ = ("CopyIn", "listed")

_NO_BINARY = "no binary format encoder"
_NOT_SUPPORTED = "0A000"
"""The server's word for COPY into a table with row-level security."""


def listed(columns: Sequence[str]) -> str:
    """Return *columns* quoted, as they stand between parentheses."""
    return ", ".join(map(quote_identifier, columns))


class CopyIn(Statement):
    """Rows in the binary format: one round trip, and another where the connection meets the table first."""

    __slots__ = ("_columns", "_rows", "_table", "_unsent", "refused")

    def __init__(
        self, table: Identifier, columns: Sequence[str], rows: Sequence[Row], timeout: float | None
    ) -> None:
        super().__init__("copy", f"COPY {table} ({listed(columns)}) FROM STDIN", (), timeout)
        self.refused = False
        """The table, or one of its types, is not for COPY: INSERT may do."""
        self._table = table
        self._columns = columns
        self._rows = rows
        self._unsent = iter(rows)

    @property
    def reached(self) -> int | None:
        """The row that was encoded last."""
        sent = len(self._rows) - length_hint(self._unsent)
        return sent - 1 if sent else None

    async def send(self, connection: Connection) -> Any:  # noqa: ANN401 (what the statement returns)
        """Send the rows as fast as the server reads them."""
        schema, table = (None, *self._table.parts)[-2:]
        try:
            return await cast("Session", connection).copy_records_to_table(
                str(table),
                schema_name=schema,
                columns=list(self._columns),
                records=self._unsent,
                timeout=self.timeout,
            )
        except Exception as error:
            self.refused = _NO_BINARY in str(error) or getattr(error, "sqlstate", None) == _NOT_SUPPORTED
            if self.refused:
                raise FaultError(Fault(type(error).__name__)) from None
            raise
