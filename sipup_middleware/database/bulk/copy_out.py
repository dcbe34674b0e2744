"""COPY ... TO as chunks of bytes: as fast as who reads them, and no faster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from anyio import move_on_after

from sipup_middleware.bridge import GRACE, Background, spawn
from sipup_middleware.database.backend import Connection, Session
from sipup_middleware.database.dirt import traits_of
from sipup_middleware.database.identifiers import Identifier
from sipup_middleware.database.lease import Lease, Statement
from sipup_middleware.database.owner import who_asks
from sipup_middleware.errors import ConfigurationError

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("CopyFormat", "CopyOut", "copied")

CopyFormat = Literal["csv", "text", "binary"]

_AHEAD = 2
"""Chunks, of what the socket had, that wait for the reader; then the server waits."""


class CopyOut(Statement):
    """The rows of a query or a table, written by the server in one of its formats."""

    __slots__ = ("_arguments", "_format", "_header", "_source", "chunks")

    def __init__(
        self,
        source: str | Identifier,
        arguments: tuple[object, ...],
        *,
        format: CopyFormat,  # noqa: A002 (what COPY calls it)
        header: bool,
        timeout: float | None,
    ) -> None:
        if format not in get_args(CopyFormat):
            raise ConfigurationError(f"format must be csv, text or binary, not {format!r}")
        table = _table(source)
        if table is not None and arguments:
            raise ConfigurationError("arguments are for a query; a whole table takes none")
        text = f"TABLE {table}" if table is not None else str(source)
        super().__init__("copy", text, (), timeout)
        self.traits = traits_of(text)._replace(repeatable=False)  # what was handed out cannot be taken back
        self.chunks: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(_AHEAD)
        self._source = table if table is not None else text.rstrip().rstrip(";")
        self._arguments = arguments
        self._format = format
        self._header = header if format == "csv" else None

    def send(self, connection: Connection) -> Awaitable[Any]:
        """Copy into `chunks`."""
        session = cast("Session", connection)
        options: dict[str, Any] = {
            "output": self._hand_over,
            "format": self._format,
            "header": self._header,
            "timeout": self.timeout,
        }
        if isinstance(self._source, Identifier):
            schema, name = (None, *self._source.parts)[-2:]
            return session.copy_from_table(str(name), schema_name=schema, **options)
        return session.copy_from_query(self._source, *self._arguments, **options)

    async def _hand_over(self, chunk: bytes | bytearray) -> None:
        await self.chunks.put(bytes(chunk))


def _table(source: str | Identifier) -> Identifier | None:
    """Return the table that *source* names; None where it is a query: that has a space in it."""
    if isinstance(source, Identifier):
        return source
    return None if len(source.split()) > 1 else Identifier.parse(source.strip())


async def copied(db: Facade, statement: CopyOut) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of *statement*; it holds a connection until the last, or until it is closed."""
    hold = db.hold() if db.holds else None
    lease = None if hold is None else hold.lease or await hold.borrowed()
    statement.patience = statement.timeout = _shorter(statement.timeout, db.left())
    statement.scope = db.scope
    owner = who_asks()
    if lease is None:
        db.refuse_deadlock()
        db.streaming.append(owner)
    copying = spawn(db.pool.home, lambda: _copy(db, statement, lease), name="sipup-database-copy")
    try:
        while chunk := await db.call(statement.chunks.get):
            if isinstance(chunk, Exception):
                db.meters.error.add()
                db.note(chunk)
                raise chunk
            yield chunk
        db.meters.ok.add()
    finally:
        if lease is None:
            db.streaming.remove(owner)
        await _stop(copying)


async def _copy(db: Facade, statement: CopyOut, lease: Lease | None) -> None:
    """Run *statement* on the pool's home; its end is the last that the reader gets."""
    try:
        await (statement.on_pool(db.pool) if lease is None else statement.on(lease))
    except Exception as error:  # noqa: BLE001 (it is the reader's)
        await statement.chunks.put(error)
    else:
        await statement.chunks.put(None)


async def _stop(copying: Background) -> None:
    with move_on_after(GRACE, shield=True):
        await copying.aclose()


def _shorter(timeout: float | None, left: float | None) -> float | None:
    return min((each for each in (timeout, left) if each is not None), default=None)
