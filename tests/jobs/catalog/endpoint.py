"""A real HTTP server that answers as a test says, and keeps what it got to the byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOOPBACK = ("127.0.0.0/8",)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Endpoint:
    """One answer a request; the last one again and again."""

    answers: Sequence[str]
    port: int = 0
    heads: list[dict[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *headers = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        head = {name.lower(): value for name, _, value in (each.partition(": ") for each in headers)}
        body = await reader.readexactly(int(head["content-length"]))
        answer = self.answers[min(len(self.lines), len(self.answers) - 1)]
        self.lines.append(line)
        self.heads.append(head)
        self.bodies.append(body)
        writer.write(f"HTTP/1.1 {answer}\r\n\r\n".encode())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@asynccontextmanager
async def listening(serve: Serve, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Let *serve* meet each client, which is then let go when it wants to; yields the port."""
    served: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        try:
            await serve(reader, writer)
            await reader.read()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async with await asyncio.start_server(meet, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.wait_for(asyncio.gather(*served, return_exceptions=True), 10)


@asynccontextmanager
async def endpoint(*answers: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Endpoint]:
    """Serve *answers*, each a status line without its version and, after ``\\r\\n``, headers."""
    ours = Endpoint(answers or ("204 No Content",))
    async with listening(ours.serve, tls=tls) as ours.port:
        yield ours
