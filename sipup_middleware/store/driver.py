"""What the drivers have in common: calls go through aiocache, under a deadline, and fail in one way."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from sipup_middleware.errors import StoreUnavailable

__all__ = ("Driver", "deadline")

T = TypeVar("T")


class Driver(ABC):
    """A `Backend` over caches of aiocache, which have no types: hence `Any`."""

    @abstractmethod
    def _lend(self) -> AbstractAsyncContextManager[Any]:
        """Lend a cache for one call, under a `deadline`."""

    async def get(self, key: str, /) -> bytes | None:
        """Return what *key* holds."""
        async with self._lend() as cache:
            data: bytes | None = await cache.get(key)
        return data

    async def set(self, key: str, data: bytes, ttl: float, /) -> bool:
        """Let *key* hold *data* for *ttl* seconds; False = there is no room for it."""
        async with self._lend() as cache:
            return await self._set(cache, key, data, ttl)

    async def delete(self, key: str, /) -> None:
        """Let *key* hold nothing."""
        async with self._lend() as cache:
            await cache.delete(key)

    @abstractmethod
    async def ping(self) -> None:
        """Ask for a sign of life."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close every connection."""

    async def _set(self, cache: Any, key: str, data: bytes, ttl: float) -> bool:  # noqa: ANN401 (aiocache's)
        """Set as this server needs it; an error means that it is out, False that it refuses the value."""
        return bool(await cache.set(key, data, ttl=ttl))


@asynccontextmanager
async def deadline(seconds: float, lent: T) -> AsyncIterator[T]:
    """Let what is done with *lent* take *seconds*; whatever fails is an outage, told by its type alone."""
    try:
        async with asyncio.timeout(seconds):
            yield lent
    except Exception as error:  # noqa: BLE001 (a connection closed under its library may raise anything)
        raise StoreUnavailable(type(error).__name__) from None
