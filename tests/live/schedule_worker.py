"""One process of a random schedule: an app behind the response cache, and writers that purge.

``python -m tests.live.schedule_worker BACKEND STORE_URL TRUTH SLOT SEED`` reads orders, one a line, and
carries out all of them at once; it tells of each that ends what it was, when it began and ended, what came.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import anyio
from starlette.types import Message, Receive, Scope, Send

from sipup_middleware.cache import ResponseCache, Rule
from sipup_middleware.store import OpenStore, Store

KEYS, SLOTS = 4, 64
PAUSE = 0.002


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Truth:
    """What is committed: how often each process has written each key. Only its own process writes a slot."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), 8 * KEYS * SLOTS)).cast("Q")

    def read(self, key: int) -> list[int]:
        return self._cells[key * SLOTS : (key + 1) * SLOTS].tolist()

    def write(self, key: int, slot: int) -> int:
        self._cells[key * SLOTS + slot] += 1
        return self._cells[key * SLOTS + slot]


class Worker:
    def __init__(self, url: str, truth: Truth, slot: int, seed: int) -> None:
        self.truth = truth
        self.slot = slot
        self.draw = Random(seed)  # noqa: S311 (a schedule, not a secret)
        self.store = Store(url)
        rules = (Rule("/one/{key}", ttl=0.03, stale=5, tags=("key:{key}",)), Rule("/late/{key}", ttl=30))
        self.app = ResponseCache(store=self.store, rules=rules)(self.serve)

    async def pause(self) -> None:
        await anyio.sleep(self.draw.random() * PAUSE)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with what is committed at some moment in between; ``/late`` tells its tag afterwards."""
        _, kind, key = scope["path"].split("/")
        await self.pause()
        value = json.dumps(self.truth.read(int(key))).encode()
        await self.pause()
        if kind == "late":
            scope["sipup"].response.tag(f"key:{key}")
        length = (b"content-length", b"%d" % len(value))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": value})

    async def get(self, kind: str, key: int) -> list[int]:
        body = b""

        async def send(message: Message) -> None:
            nonlocal body
            body += message.get("body", b"")

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        path = f"/{kind}/{key}"
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
        scope |= {
            "scheme": "http",
            "query_string": b"",
            "headers": [(b"host", b"test")],
            "http_version": "1.1",
        }
        await self.app(scope, receive, send)
        value: list[int] = json.loads(body)
        return value

    async def write(self, cache: OpenStore, key: int, *, dies: bool) -> int:
        async with cache.purging(tags=[f"key:{key}"]):
            await self.pause()
            count = self.truth.write(key, self.slot)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)
            await self.pause()
        return count

    async def carry_out(self, cache: OpenStore, order: dict[str, Any]) -> None:
        began = monotonic()
        value: object = None
        with anyio.CancelScope() as scope:
            if order["op"] == "clear":
                await cache.clear()
            elif order["op"] == "write":
                value = await self.write(cache, order["key"], dies=order["dies"])
            else:
                if order["cancelled"]:
                    scope.deadline = anyio.current_time() + self.draw.random() * 2 * PAUSE
                value = await self.get(order["kind"], order["key"])
        ended = None if scope.cancelled_caught else monotonic()
        tell(json.dumps({**order, "slot": self.slot, "began": began, "ended": ended, "value": value}))

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            cache = await stack.enter_async_context(self.store.open())
            tasks = await stack.enter_async_context(anyio.create_task_group())
            tell("{}")
            while line := await anyio.to_thread.run_sync(sys.stdin.readline):
                tasks.start_soon(self.carry_out, cache, json.loads(line))


if __name__ == "__main__":
    backend, url, truth, slot, seed = sys.argv[1:]
    worker = Worker(url, Truth(Path(truth)), int(slot), int(seed))
    anyio.run(partial(Worker.run, worker), backend=backend)
