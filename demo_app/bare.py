"""The marketplace as it was before: the same handlers, without the stack.

Every request dials PostgreSQL anew, nothing is cached or limited, and e-mails and webhooks are sent while the
client waits. What the handlers ask of ``request.state.sipup`` is all here, as plainly as it is often written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

import asyncpg
from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware.jobs import JobContext, Task

__all__ = ("Bare",)


class Bare:
    """Stands where the stack would: ASGI middleware on asyncio alone."""

    def __init__(self, app: ASGIApp, *, url: str, tasks: Iterable[Task]) -> None:
        self.app = app
        self._url = url
        self._tasks = {each.name: each for each in tasks}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, with a connection of its own to PostgreSQL."""
        if scope["type"] not in {"http", "websocket"}:
            return await self.app(scope, receive, send)
        sipup = _Request(_Connection(self._url), _Jobs(self._tasks))
        state = {**scope.get("state", {}), "sipup": sipup}
        try:
            return await self.app({**scope, "sipup": sipup, "state": state}, receive, send)
        finally:
            await sipup.db.close()


class _Connection:
    """Dialled at the first statement, closed with the request."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open: asyncpg.Connection[asyncpg.Record] | None = None

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        return await (await self._dialled()).fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        return await (await self._dialled()).fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:  # noqa: ANN401 (any)
        return await (await self._dialled()).fetchval(sql, *args)

    async def execute(self, sql: str, *args: object) -> str:
        return await (await self._dialled()).execute(sql, *args)

    async def executemany(self, sql: str, args: Iterable[Sequence[object]]) -> None:
        await (await self._dialled()).executemany(sql, args)

    @asynccontextmanager
    async def transaction(
        self, isolation: Literal["repeatable_read"] | None = None, *, readonly: bool = False
    ) -> AsyncIterator[None]:
        connection = await self._dialled()
        async with connection.transaction(isolation=isolation, readonly=readonly):
            yield

    async def close(self) -> None:
        if self._open is not None:
            await self._open.close()

    async def _dialled(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._open is None:
            self._open = await asyncpg.connect(self._url)
        return self._open


class _Nothing:
    """A cache that is not there: nothing is stored, so nothing need be purged."""

    async def invalidate(
        self, *, tags: Iterable[str] = (), url: str | None = None, prefix: str | None = None
    ) -> None:
        pass

    def tag(self, *names: str) -> _Nothing:  # noqa: ARG002 (the signature)
        return self

    def ttl(self, seconds: float) -> _Nothing:  # noqa: ARG002 (the signature)
        return self

    def bypass(self) -> _Nothing:
        return self


@dataclass(frozen=True)
class _Done:
    """A job, which is over when it has been enqueued."""

    id: str


class _Jobs:
    """Does the work while the client waits; what it raises is the request's failure."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self._tasks = tasks

    async def enqueue(
        self,
        name: str,
        payload: Mapping[str, Any],
        *,
        priority: str | None = None,  # noqa: ARG002 (everything is done at once)
    ) -> _Done:
        done = _Done(uuid4().hex)
        await self._tasks[name](JobContext(id=done.id, name=name), **payload)
        return done


@dataclass
class _Request:
    """What the handlers find in ``request.state.sipup``."""

    db: _Connection
    jobs: _Jobs
    store: _Nothing = field(default_factory=_Nothing)
    response: _Nothing = field(default_factory=_Nothing)
    request_id: str = field(default_factory=lambda: uuid4().hex)
