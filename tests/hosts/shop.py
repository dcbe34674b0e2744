"""What the shop of these tests does, whoever hosts it, and the one stack around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from anyio.lowlevel import checkpoint

from sipup_middleware import (
    Database,
    Health,
    Limit,
    PoolConfig,
    RateLimit,
    ResponseCache,
    Rule,
    Stack,
    Store,
    by_ip,
)
from sipup_middleware.database import Facade
from sipup_middleware.jobs import JobContext, Jobs, OpenJobs, job
from sipup_middleware.store import OpenStore

__all__ = ("PATIENT", "QUOTA", "SCHEMA", "Boom", "Place", "Shop", "new_stack")

PATIENT = 10.0
"""Seconds of storage_timeout, where a slow machine must not look like an outage."""

QUOTA = 20
SCHEMA = "CREATE TABLE items (id serial PRIMARY KEY, name text NOT NULL)"


class Boom(Exception):
    """What no handler expects."""


@dataclass(frozen=True)
class Place:
    """Where one shop keeps its things."""

    database_url: str
    redis_url: str
    name: str
    """Of its queue and of its limit: no other shop has it."""


@job("label.print")
async def print_label(ctx: JobContext, item: int) -> None:
    raise NotImplementedError("no worker runs in these tests")


def new_stack(place: Place, *, jobs_url: str | None = None) -> Stack:
    return Stack(
        Health(),
        RateLimit(
            limits=(Limit(f"{QUOTA}/hour", key=by_ip, name=place.name),),
            storage=place.redis_url,
            storage_timeout=PATIENT,
        ),
        ResponseCache(store=Store(place.redis_url), rules=(Rule("/items/{id}", ttl=60, tags=("items",)),)),
        Database(place.database_url, pool=PoolConfig(min=1, max=4)),
        Jobs(jobs_url or place.database_url, tasks=(print_label,), queue=place.name),
        log=False,
    )


@dataclass(frozen=True)
class Shop:
    """The same handlers for every host, which only has to find what they take."""

    pace: Callable[[], Awaitable[None]] = checkpoint
    """What the stream waits for after each chunk."""

    async def read(self, db: Facade, number: int) -> dict[str, Any]:
        (row,) = await db.fetch("SELECT id, name FROM items WHERE id = $1", number)
        return dict(row)

    async def change(self, db: Facade, store: OpenStore, number: int, wish: dict[str, Any]) -> dict[str, Any]:
        """Purge the page of every item, which the change of one's URL alone would not."""
        async with db.transaction():
            await db.execute("UPDATE items SET name = $2 WHERE id = $1", number, wish["name"])
            row = await self.read(db, number)
        await store.invalidate(tags=["items"])
        return row

    async def make(self, db: Facade, jobs: OpenJobs, wish: dict[str, Any]) -> dict[str, Any]:
        async with db.transaction():
            number = await db.fetchval("INSERT INTO items (name) VALUES ($1) RETURNING id", wish["name"])
            handle = await jobs.enqueue("label.print", {"item": number}, unique_key=wish["name"])
            if wish.get("fail"):
                raise Boom
        return {"id": number, "job": handle.id}

    async def boom(self) -> None:
        raise Boom

    async def away(self, jobs: OpenJobs) -> dict[str, Any]:
        """Let fly what a queue raises that cannot be reached."""
        handle = await jobs.enqueue("label.print", {"item": 0})
        return {"job": handle.id}

    async def ticks(self) -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"tick %d\n" % number
            await self.pace()
