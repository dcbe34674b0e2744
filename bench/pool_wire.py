"""A wire to PostgreSQL that counts how often the client spoke after the server did: round trips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

__all__ = ("Wire", "wire_to")

_SOCKET = ".s.PGSQL.5432"


@dataclass
class Wire:
    """Where to connect, and what passed."""

    url: str
    trips: int = 0
    server_spoke: bool = True


async def _copy(wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
    while data := await reader.read(65536):
        if up:
            wire.trips += wire.server_spoke
        wire.server_spoke = not up
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    """Put a wire before the server at *url*, which listens on a Unix socket."""
    upstream = Path(parse_qs(urlsplit(url).query)["host"][0]) / _SOCKET
    with TemporaryDirectory(prefix="sipup-") as directory:
        wire = Wire(f"postgresql://postgres:wired@/postgres?host={directory}&port=5432")

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server, client = await asyncio.open_unix_connection(str(upstream))
            await asyncio.gather(
                _copy(wire, reader, client, up=True),
                _copy(wire, server, writer, up=False),
                return_exceptions=True,
            )

        async with await asyncio.start_unix_server(accept, Path(directory) / _SOCKET):
            yield wire
