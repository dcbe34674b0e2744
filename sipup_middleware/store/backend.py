"""The second tier's servers: the only module that knows aiocache and redis-py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from sipup_middleware.errors import ConfigurationError, MissingExtra, StoreUnavailable

__all__ = ("Backend", "connect")

_NAMESPACE = "sip:1:c"
"""Cached things, format 1; aiocache puts a colon after it."""

_CONNECTIONS = 16


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
    try:
        from redis.asyncio import BlockingConnectionPool  # noqa: PLC0415 (only such a URL needs it)
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("redis") from error
    try:
        from aiocache import RedisCache  # noqa: PLC0415 (only such a URL needs it)
        from aiocache.serializers import NullSerializer  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("cache") from error
    try:
        pool = BlockingConnectionPool.from_url(
            f"redis{url.removeprefix('valkey')}" if url.startswith("valkey:") else url,
            max_connections=_CONNECTIONS,
            timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 1),  # a connection that went stale in the pool is not an outage
            **_nameless(),
        )
        pool.make_connection()  # type: ignore[no-untyped-call]  # inert; refuses options that do not exist
    except (TypeError, ValueError):
        raise ConfigurationError("Store.url cannot be read: see redis-py's from_url for its form") from None
    cache = RedisCache(
        serializer=NullSerializer(encoding=None),
        namespace=_NAMESPACE,
        timeout=None,
        connection_pool_class=lambda **_: pool,
    )
    return _Redis(cache, timeout)


def _nameless() -> dict[str, Any]:
    """Return what keeps redis-py from reading its own version off the disk at every connect."""
    try:
        import redis.driver_info  # noqa: F401, PLC0415 (there = its argument too)
    except ImportError:
        return {}
    return {"driver_info": None}


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
