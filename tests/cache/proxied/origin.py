"""An HTTP/1.1 server that answers by a script, byte by byte, and remembers what it was asked."""

from __future__ import annotations

import re
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from threading import Event, Thread
from typing import cast

from tests.cache.apps import Clock

__all__ = ("Asked", "Origin", "Reply", "serving_origin")

_MOMENT = re.compile(r"\{now([+-]\d+)?\}")


@dataclass(frozen=True)
class Reply:
    """What the origin answers; ``{now-60}`` in a line is the date a minute ago."""

    lines: tuple[str, ...] = ()
    status: int = 200
    body: bytes | None = None
    """None = which request of the case this was."""

    date: bool = True
    """Whether it says when it was made."""

    framing: str = "length"
    """How the end is told: ``length``, ``chunked``, ``close``; or ``none``, and the lines tell it."""

    before: bytes = b""
    """Sent first: interim responses."""

    after: bytes = b""
    """Sent after the last chunk: trailers."""

    cut: int = 0
    """Bytes that the message lacks at its end; 0 = it is whole."""


@dataclass(frozen=True)
class Asked:
    """A request as the origin read it; field names in lower case."""

    method: str
    target: str
    fields: dict[str, str]


@dataclass
class Origin:
    """Gives each request the same `reply` until it is changed; None = it must not be asked."""

    clock: Clock
    port: int = 0
    reply: Reply | None = None
    seen: list[Asked] = field(default_factory=list)
    count: int = 0
    lets: Event = field(default_factory=Event)
    """Set, unless the answers are held back."""

    def __post_init__(self) -> None:
        self.lets.set()

    def answer(self, asked: Asked) -> bytes:
        self.count += 1
        reply, number = self.reply, self.count
        self.seen.append(asked)
        if reply is None:
            reply = Reply(("cache-control: no-store",), status=500, body=b"must not be asked")
        self.lets.wait()
        whole = self._render(reply, number, head=asked.method == "HEAD")
        return whole[: max(0, len(whole) - reply.cut)]

    def _render(self, reply: Reply, number: int, *, head: bool) -> bytes:
        body = b"%d" % number if reply.body is None else reply.body
        lines = [_MOMENT.sub(self._moment, line) for line in reply.lines]
        if reply.date and not any(line.lower().startswith("date:") for line in lines):
            lines.append(f"Date: {formatdate(self.clock.now, usegmt=True)}")
        if head or reply.status in {204, 304}:
            return self._join(reply, lines)
        if reply.framing == "length":
            lines.append(f"Content-Length: {len(body)}")
        elif reply.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, reply.after)
        return self._join(reply, lines) + body

    def _moment(self, named: re.Match[str]) -> str:
        return formatdate(self.clock.now + int(named[1] or 0), usegmt=True)

    @staticmethod
    def _join(reply: Reply, lines: list[str]) -> bytes:
        head = "\r\n".join([f"HTTP/1.1 {reply.status} Whatever", *lines, "", ""])
        return reply.before + head.encode("latin-1")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    origin: Origin


class _Handler(socketserver.StreamRequestHandler):
    """One request a connection."""

    def handle(self) -> None:
        method, target, _ = self.rfile.readline().decode("latin-1").split(" ")
        fields: dict[str, str] = {}
        while line := self.rfile.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        self.rfile.read(int(fields.get("content-length", "0")))
        self.wfile.write(cast("_Server", self.server).origin.answer(Asked(method, target, fields)))


@contextmanager
def serving_origin(clock: Clock) -> Iterator[Origin]:
    """Run an origin until left."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.origin = Origin(clock, port=server.server_address[1])
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.origin
        finally:
            server.shutdown()
            thread.join()
