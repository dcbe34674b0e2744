"""What the workers of these tests run: ``saq tests.jobs.shop.worker``, told by the environment."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

from sipup_middleware import Database, Stack
from sipup_middleware.jobs import Discard, JobContext, Jobs, Retry, job

__all__ = ("TASKS", "jobs_at", "worker")


@job("add", timeout=5)
async def add(ctx: JobContext, a: int, b: int = 0) -> dict[str, Any]:
    return {"sum": a + b, "attempt": ctx.attempt, "meta": dict(ctx.meta)}


@job("echo")
async def echo(ctx: JobContext, **payload: Any) -> dict[str, Any]:
    return payload


@job("note")
async def note(ctx: JobContext, word: str) -> None:
    """Write *word* down where the test can see it, in the order of running."""
    await ctx.db.execute(
        "INSERT INTO notes (word, job, attempt) VALUES ($1, $2, $3)", word, ctx.id, ctx.attempt
    )


@job("fail", backoff=(0.2, 2.0, 1))
async def fail(ctx: JobContext, word: str, secret: str = "") -> None:
    await note(ctx, word=word)
    raise ValueError(f"never with {secret}")


@job("refuse")
async def refuse(ctx: JobContext) -> None:
    raise Discard("it can never be")


@job("patience", retries=1)
async def patience(ctx: JobContext, seconds: float) -> int:
    if ctx.attempt == 1:
        raise Retry("not yet", after=seconds)
    return ctx.attempt


@job("sleep", timeout=0.2, retries=0)
async def sleep(ctx: JobContext) -> None:
    await asyncio.sleep(60)


@job("unspeakable")
async def unspeakable(ctx: JobContext) -> object:
    return object()


@job("die", timeout=1)
async def die(ctx: JobContext, word: str) -> None:
    """Kill the worker in the first attempt."""
    await note(ctx, word=word)
    if ctx.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@job("die.last", timeout=1, retries=0)
async def die_last(ctx: JobContext) -> None:
    """Kill the worker in the only attempt."""
    os.kill(os.getpid(), signal.SIGKILL)


@job("chain")
async def chain(ctx: JobContext, *, word: str, commit: bool) -> str:
    """Enqueue another from within, in a transaction; return its id."""
    ids: list[str] = []

    async def hand_over() -> None:
        async with ctx.db.transaction():
            ids.append((await ctx.jobs.enqueue("note", {"word": word})).id)
            if not commit:
                raise LookupError

    with suppress(LookupError):
        await hand_over()
    return ids[0]


@job("linger")
async def linger(ctx: JobContext, word: str, until: str) -> None:
    """Keep a place until *until* was written down by somebody else."""
    await note(ctx, word=f"{word} began")
    while not await ctx.db.fetchval("SELECT count(*) FROM notes WHERE word = $1", until):  # noqa: ASYNC110 (it polls)
        await asyncio.sleep(0.02)
    await note(ctx, word=f"{word} ended")


TASKS = (add, echo, note, fail, refuse, patience, sleep, unspeakable, die, die_last, chain, linger)


def jobs_at(url: str, *, queue: str = "sipup") -> Jobs:
    return Jobs(url, tasks=TASKS, queue=queue)


def worker() -> dict[str, Any]:
    layer = jobs_at(os.environ["SHOP_JOBS_URL"], queue=os.environ["SHOP_QUEUE"])
    stack = Stack(Database(os.environ["SHOP_DATABASE_URL"]), layer, log=False)
    settings = layer.worker(
        resources=stack,
        concurrency=int(os.environ["SHOP_CONCURRENCY"]),
        grace=int(os.environ["SHOP_GRACE"]),
    )()
    settings["timers"]["sweep"] = 1  # seconds: nobody is to wait ten times as long for a test
    return settings
