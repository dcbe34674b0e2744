"""Connections that do as they are told, and a wire that counts."""

# ruff: noqa: ASYNC109 (a driver's signatures)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio


@dataclass(eq=False)
class Line:
    """A connection of no server."""

    closed: bool = False
    silent: bool = False
    quiet: bool = True
    log: list[str] = field(default_factory=list)

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        self.log.append(query)
        if self.silent:
            raise TimeoutError
        return "SELECT 1"

    fetch = fetchrow = fetchval = executemany = execute

    async def reset(self, *, timeout: float | None = None) -> None:
        self.log.append("reset")

    async def close(self, *, timeout: float | None = None) -> None:
        self.closed = True

    def terminate(self) -> None:
        self.closed = True

    def is_closed(self) -> bool:
        return self.closed

    def is_quiet(self) -> bool:
        return self.quiet

    def is_in_transaction(self) -> bool:
        return False

    def transaction(self, **options: Any) -> Any:
        raise NotImplementedError


@dataclass
class Dials:
    """Hands out lines; raises instead while there is an `error`."""

    error: Exception | None = None
    made: list[Line] = field(default_factory=list)
    tried: int = 0

    async def __call__(self, timeout: float) -> Any:
        self.tried += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.made.append(Line())
        return self.made[-1]


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Wire:
    """Counts how often the client spoke after the server did: round trips."""

    url: str
    trips: int = 0
    frozen: bool = False
    links: int = 0
    black_holed: int = 0
    server_spoke: bool = True

    def black_hole(self) -> None:
        """Swallow what those say that are connected now; newcomers get through."""
        self.black_holed = self.links

    def sent(self) -> None:
        self.trips += self.server_spoke
        self.server_spoke = False

    @contextmanager
    def counting(self) -> Iterator[list[int]]:
        found, before = [0], self.trips
        yield found
        found[0] = self.trips - before


async def _copy(
    wire: Wire,
    link: int,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    up: bool,  # noqa: FBT001 (a direction)
) -> None:
    try:
        while data := await reader.read(65536):
            if up:
                wire.sent()
            else:
                wire.server_spoke = True
            if not wire.frozen and link > wire.black_holed:
                writer.write(data)
                await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def wire_to(database_url: str) -> AsyncIterator[Wire]:
    """Put a wire between the driver and the server, in a thread of its own."""
    parts = urlsplit(database_url)
    upstream = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
    tasks: set[asyncio.Task[Any]] = set()
    with TemporaryDirectory(prefix="sipup-") as directory:
        wire = Wire(f"postgresql://postgres:wired@/postgres?host={directory}&port=5432")

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_unix_connection(upstream)
            wire.links += 1
            for ends in ((reader, up_writer, True), (up_reader, writer, False)):
                tasks.add(asyncio.ensure_future(_copy(wire, wire.links, *ends)))

        async def listen() -> asyncio.Server:
            return await asyncio.start_unix_server(accept, Path(directory) / ".s.PGSQL.5432")

        async def close(server: asyncio.Server) -> None:
            server.close()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

        loop = asyncio.new_event_loop()
        thread = Thread(target=loop.run_forever)
        thread.start()
        server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
        try:
            yield wire
        finally:
            asyncio.run_coroutine_threadsafe(close(server), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what happens beside the test."""
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 (it polls)
            await anyio.sleep(0.002)
