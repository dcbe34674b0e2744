"""The second tier's servers: the only module that knows aiocache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from sipup_middleware.errors import MissingExtra, StoreUnavailable
from sipup_middleware.redis_pool import redis_pool

__all__ = ("Backend", "connect")

_NAMESPACE = "sip:1:c"
"""Cached things, format 1; aiocache puts a colon after it."""


class Backend(Protocol):
    """Keeps bytes, on an asyncio loop. Raises `StoreUnavailable` within its timeout, and nothing else."""

    async def get(self, key: str, /) -> bytes | None:
        """Return what *key* holds."""

    async def set(self, key: str, data: bytes, ttl: float, /) -> None:
        """Let *key* hold *data* for *ttl* seconds."""

    async def delete(self, key: str, /) -> None:
        """Let *key* hold nothing."""

    async def ping(self) -> None:
        """Ask for a sign of life."""

    async def aclose(self) -> None:
        """Close every connection."""


def connect(url: str, timeout: float) -> Backend:
    """Return the backend for a Redis or Valkey *url*; connects at the first command.

    Raises `MissingExtra` where a library is missing, `ConfigurationError` for a URL it cannot read.
    """
    pool = redis_pool(url, timeout=timeout, option="Store.url", extra="redis")
    try:
        from aiocache import RedisCache  # noqa: PLC0415 (only such a URL needs it)
        from aiocache.serializers import NullSerializer  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("cache") from error
    cache = RedisCache(
        serializer=NullSerializer(encoding=None),
        namespace=_NAMESPACE,
        timeout=None,
        connection_pool_class=lambda **_: pool,
    )
    return _Redis(cache, timeout)


class _Redis:
    """Redis or Valkey through aiocache; ``cache.clear`` is FLUSHDB and never called."""

    def __init__(self, cache: Any, timeout: float) -> None:  # noqa: ANN401 (aiocache has no types)
        self._cache = cache
        self._timeout = timeout

    async def get(self, key: str, /) -> bytes | None:
        """Return what *key* holds."""
        async with _deadline(self._timeout):
            data: bytes | None = await self._cache.get(key)
        return data

    async def set(self, key: str, data: bytes, ttl: float, /) -> None:
        """Let *key* hold *data*; a float is what makes aiocache send milliseconds."""
        async with _deadline(self._timeout):
            await self._cache.set(key, data, ttl=ttl)

    async def delete(self, key: str, /) -> None:
        """Let *key* hold nothing."""
        async with _deadline(self._timeout):
            await self._cache.delete(key)

    async def ping(self) -> None:
        """Ask for a sign of life."""
        async with _deadline(self._timeout):
            await self._cache.client.ping()

    async def aclose(self) -> None:
        """Close every connection."""
        async with _deadline(1.0):
            await self._cache.client.aclose()


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    """Let what happens inside take *seconds*; whatever fails is an outage, told by its type alone."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except Exception as error:  # noqa: BLE001 (a connection closed under redis-py may raise anything)
        raise StoreUnavailable(type(error).__name__) from None
