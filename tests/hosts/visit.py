"""A client of a shop that is up, and what it reads off the health pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
import orjson
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from starlette.types import ASGIApp, Message

from sipup_middleware import Stack
from sipup_middleware.jobs.broker import JobState
from tests.asgi import Exchange, http_scope, lifespan
from tests.hosts.apps import Host
from tests.hosts.shop import Boom, Place, Shop, new_stack

__all__ = ("Socket", "Visit", "cache_status", "connected", "is_outage", "opened")


@dataclass
class Visit:
    """Asks from this machine, so that health tells all."""

    app: ASGIApp
    stack: Stack

    async def ask(self, method: str, path: str, document: object = None) -> Exchange:
        exchange = Exchange()
        await self._send(exchange, method, path, document)
        assert exchange.finished.is_set(), "the reply never ended"
        return exchange

    async def ask_in_spite(self, method: str, path: str, document: object = None) -> Exchange:
        """Return what was sent before the host let its error through, if it did."""
        exchange = Exchange()
        with suppress(Boom):
            await self._send(exchange, method, path, document)
        return exchange

    async def get(self, path: str) -> Exchange:
        return await self.ask("GET", path)

    async def _send(self, exchange: Exchange, method: str, path: str, document: object) -> None:
        body = b"" if document is None else orjson.dumps(document)
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))] if body else []
        exchange.unread = [{"type": "http.request", "body": body, "more_body": False}]
        scope = http_scope(path, method=method, client="127.0.0.1", headers=headers)
        await self.app(scope, exchange.receive, exchange.send)

    async def metrics(self) -> dict[str, Any]:
        return dict((await self.get("/_health/metrics")).json())

    async def counted(self) -> dict[tuple[str, str], dict[str, int]]:
        """Return how often each method of each route ended how."""
        routes = (await self.metrics())["http"]["routes"]
        return {(each["method"], each["route"]): each["status"] for each in routes}

    async def job(self, key: str) -> JobState | None:
        """Look *key* up in the shop's open queue."""
        async with self.stack.open() as resources:
            assert resources.jobs
            queue = resources.jobs._queue
            return await queue.home.call(queue.broker.look, key)


@asynccontextmanager
async def opened(
    host: Host, place: Place, *, jobs_url: str | None = None, shop: Shop | None = None
) -> AsyncIterator[Visit]:
    """Keep up *host*'s shop, in the stack."""
    stack = new_stack(place, jobs_url=jobs_url)
    app = host.wrapped(stack, shop)
    async with lifespan(app):
        yield Visit(app, stack)


@dataclass
class Socket:
    """The client's end."""

    inbox: ObjectSendStream[Message]
    outbox: ObjectReceiveStream[Message]

    async def ask(self, text: str) -> Any:
        await self.inbox.send({"type": "websocket.receive", "text": text})
        with anyio.fail_after(10):
            return orjson.loads((await self.outbox.receive())["text"])


@asynccontextmanager
async def connected(visit: Visit) -> AsyncIterator[Socket]:
    inbox, unread = anyio.create_memory_object_stream[Message](8)
    unseen, outbox = anyio.create_memory_object_stream[Message](8)
    scope = http_scope("/ws", type="websocket", scheme="ws", subprotocols=[])
    del scope["method"]
    with inbox, unread, unseen, outbox:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_serve, visit.app, scope, unread.receive, unseen.send)
            await inbox.send({"type": "websocket.connect"})
            assert (await outbox.receive())["type"] == "websocket.accept"
            yield Socket(inbox, outbox)
            await inbox.send({"type": "websocket.disconnect", "code": 1000})


async def _serve(app: ASGIApp, scope: Any, receive: Any, send: Any) -> None:
    await app(scope, receive, send)


def cache_status(reply: Exchange) -> str:
    """Return what the response cache did: ``hit``, ``fwd=uri-miss`` …"""
    return reply.headers["cache-status"].split("; ")[1]


def is_outage(reply: Exchange) -> bool:
    """Say whether *reply* tells of an outage as we do, quota and all."""
    problem = reply.json()
    assert reply.headers["content-type"] == "application/problem+json"
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.headers["ratelimit"]
    return (reply.status, problem["status"]) == (503, 503)
