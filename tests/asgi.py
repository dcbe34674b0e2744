"""Speak ASGI to an app, strictly: no HTTP client, no server, no surprises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Exchange:
    """One request and the reply to it, each message checked as it passes."""

    unread: list[Message] = field(default_factory=lambda: [{"type": "http.request"}])
    sent: list[Message] = field(default_factory=list)
    finished: anyio.Event = field(default_factory=anyio.Event)

    async def receive(self) -> Message:
        if self.unread:
            return self.unread.pop(0)
        await self.finished.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        due = "http.response.body" if self.sent else "http.response.start"
        assert message["type"] == due, f"{message['type']} sent where {due} was due"
        assert not self.finished.is_set(), "sent after the reply was complete"
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.finished.set()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.sent[0]["headers"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers}

    @property
    def chunks(self) -> list[bytes]:
        return [message.get("body", b"") for message in self.sent[1:]]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def json(self) -> Any:
        return orjson.loads(self.body)


def http_scope(
    path: str = "/",
    *,
    method: str = "GET",
    client: str | None = "192.0.2.1",
    headers: Iterable[tuple[str, str]] = (),
    query: str = "",
    **extra: Any,
) -> dict[str, Any]:
    """Build a scope as a server would; *extra* replaces or adds entries."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"testserver"),
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers),
        ],
        "client": None if client is None else (client, 50000),
        "server": ("testserver", 80),
        **extra,
    }


async def request(app: ASGIApp, path: str = "/", *, body: bytes = b"", **scope: Any) -> Exchange:
    """Send one request (see `http_scope`); return the finished exchange."""
    exchange = Exchange([{"type": "http.request", "body": body, "more_body": False}])
    await app(http_scope(path, **scope), exchange.receive, exchange.send)
    assert exchange.finished.is_set(), "the reply never ended"
    return exchange


async def get(app: ASGIApp, path: str = "/", **scope: Any) -> Exchange:
    """Send one GET request; return the finished exchange."""
    return await request(app, path, **scope)


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """Keep *app* up as a server would: startup before, shutdown after."""
    inbox, sent = anyio.Event(), list[str]()
    started, stopped = anyio.Event(), anyio.Event()
    unread: list[Message] = [{"type": "lifespan.startup"}]

    async def receive() -> Message:
        if unread:
            return unread.pop()
        await inbox.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: Message) -> None:
        sent.append(message["type"])
        (started if message["type"].startswith("lifespan.startup") else stopped).set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            _call, app, {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send
        )
        await started.wait()
        assert sent == ["lifespan.startup.complete"]
        try:
            yield
        finally:
            inbox.set()
            with anyio.CancelScope(shield=True), anyio.fail_after(10):
                await stopped.wait()
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the request, answer in two chunks: the smallest app that exposes buffering."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hel", "more_body": True})
    await send({"type": "http.response.body", "body": b"lo"})
    assert (await receive())["type"] == "http.disconnect"
