"""Hosts that are linked through one server, and what one waits for with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio

from sipup_middleware.store import OpenStore, Store
from sipup_middleware.store.listener import Listener
from tests.store.conftest import PATIENT
from tests.store.doubles import TEXT

KEY = b"GET /products"


@asynccontextmanager
async def hosts(url: str, *directories: Path) -> AsyncIterator[list[OpenStore]]:
    """Open a store a directory; the same twice = two workers of one host."""
    async with AsyncExitStack() as stack:
        opened = []
        for directory in directories:
            directory.mkdir(exist_ok=True)
            store = Store(url, timeout=PATIENT, runtime_dir=str(directory))
            opened.append(await stack.enter_async_context(store.open()))
        yield opened


async def fill(cache: OpenStore, value: str, *tags: str, key: bytes = KEY) -> bool:
    taken = cache.collect(*tags)
    kept = cache.keep(key, value, TEXT, ttl=60, tags=taken)
    await cache.share(key, value, TEXT, ttl=60, tags=taken)
    return kept


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 (a live test: a server is waited for)
            await anyio.sleep(0.005)


async def heard(*opened: OpenStore) -> None:
    """Wait until every host has carried out what was told so far."""
    most = max(listener(cache).number for cache in opened)
    await until(lambda: all(listener(cache).number >= most for cache in opened))


def listener(cache: OpenStore) -> Listener:
    assert cache._link
    return cache._link._listener


async def deafen(cache: OpenStore) -> None:
    """Let the host hear nothing more, as if its listener were frozen."""
    assert cache._link
    assert cache._link._background
    await cache._link._background.aclose()
