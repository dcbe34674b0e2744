"""Redis and Valkey as a second tier."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from sipup_middleware.errors import MissingExtra
from sipup_middleware.redis_pool import redis_pool
from sipup_middleware.store.backend import Backend
from sipup_middleware.store.driver import Driver, deadline

try:
    from redis.exceptions import OutOfMemoryError
except ImportError as error:
    raise MissingExtra("redis") from error
try:
    from aiocache import RedisCache
    from aiocache.serializers import NullSerializer
except ImportError as error:
    raise MissingExtra("cache") from error

__all__ = ("redis_backend",)

_NAMESPACE = "sip:1:c"
"""Cached things, format 1; aiocache puts a colon after it."""


def redis_backend(url: str, timeout: float) -> Backend:
    """Return the backend for *url*; raises `ConfigurationError` where it cannot be read."""
    pool = redis_pool(url, timeout=timeout, option="Store.url", extra="redis")
    cache = RedisCache(
        serializer=NullSerializer(encoding=None),
        namespace=_NAMESPACE,
        timeout=None,
        connection_pool_class=lambda **_: pool,
    )
    return _Redis(cache, timeout)


class _Redis(Driver):
    """One cache on a bounded pool; its ``clear`` is FLUSHDB and never called."""

    def __init__(self, cache: Any, timeout: float) -> None:  # noqa: ANN401 (aiocache has no types)
        self._cache = cache
        self._timeout = timeout

    def _lend(self) -> AbstractAsyncContextManager[Any]:
        return deadline(self._timeout, self._cache)

    async def ping(self) -> None:
        """Ask for a sign of life."""
        async with self._lend() as cache:
            await cache.client.ping()

    async def aclose(self) -> None:
        """Close every connection."""
        async with deadline(1.0, self._cache) as cache:
            await cache.client.aclose()

    async def _set(self, cache: Any, key: str, data: bytes, ttl: float) -> bool:  # noqa: ANN401 (aiocache's)
        try:
            return await super()._set(cache, key, data, float(ttl))  # aiocache sends a float as milliseconds
        except OutOfMemoryError:  # it is full and evicts nothing, yet answers all who read
            return False
