"""Memcached as a second tier.

aiomcache dials once for every caller who waits, keeps a connection whose answer a cancelled caller left
unread (from then on each answer on it is another key's), and spins for ever in a set whose server ends. So
each of our clients has one connection and one caller at a time, and who is cut off takes the connection with
him.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from time import time
from typing import Any
from urllib.parse import urlsplit

from sipup_middleware.errors import ConfigurationError, MissingExtra
from sipup_middleware.redis_pool import MAX_CONNECTIONS
from sipup_middleware.store.backend import Backend
from sipup_middleware.store.driver import Driver, deadline

try:
    from aiocache import MemcachedCache
    from aiocache.serializers import NullSerializer
    from aiomcache import Client
    from aiomcache.exceptions import ClientException
    from aiomcache.pool import Connection, MemcachePool
except ImportError as error:
    raise MissingExtra("memcached") from error

__all__ = ("memcached_backend",)

_NAMESPACE = "sip:1:c:"
"""Cached things, format 1; with our digests a key has 48 bytes of the 250 that it may have."""

_PORT = 11211
_MONTH = 30 * 86400
"""Seconds: a longer lifetime is read as a date."""

_LATEST = 2**31 - 1
"""The last date that every version understands."""

_REFUSALS = ("object too large", "out of memory")
"""What the server answers for a value that it has no room for."""


def memcached_backend(url: str, timeout: float) -> Backend:
    """Return the backend for *url*; raises `ConfigurationError` where it cannot be read."""
    return _Memcached(*_address(url), timeout)


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORT
    except ValueError:
        parts, port = urlsplit(""), 0
    if not parts.hostname or parts.path.strip("/") or parts.query or "@" in parts.netloc:
        raise ConfigurationError("Store.url cannot be read: its form is memcached://host:11211")
    return parts.hostname, port


class _Memcached(Driver):
    """At most `MAX_CONNECTIONS` clients; more calls than that wait, as long as their deadline allows."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._host = host
        self._port = port
        self._timeout = timeout
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[MemcachedCache] = []

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[Any]:
        async with deadline(self._timeout, self._room) as room, room:
            cache = self._idle.pop() if self._idle else self._client()
            try:
                yield cache
            except BaseException:
                await cache.close()
                raise
            self._idle.append(cache)

    async def ping(self) -> None:
        """Ask for a sign of life."""
        async with self._lend() as cache:
            await cache.client.version()

    async def aclose(self) -> None:
        """Close every connection."""
        while self._idle:
            await self._idle.pop().close()

    async def _set(self, cache: Any, key: str, data: bytes, ttl: float) -> bool:  # noqa: ANN401 (aiocache's)
        try:
            return await super()._set(cache, key, data, _expiry(ttl))
        except ClientException as error:
            if any(words in str(error) for words in _REFUSALS):
                return False
            raise

    def _client(self) -> MemcachedCache:
        cache = MemcachedCache(serializer=NullSerializer(encoding=None), namespace=_NAMESPACE, timeout=None)
        cache.client = _Client(self._host, self._port, pool_size=1)
        cache.client._pool = _Line(self._host, self._port, minsize=1, maxsize=1)  # noqa: SLF001 (no other way)
        return cache


def _expiry(ttl: float) -> int:
    """Return *ttl* as the server wants it, a second longer: it counts whole ones, the envelope the rest."""
    seconds = ceil(ttl) + 1
    return seconds if seconds <= _MONTH else min(int(time()) + seconds, _LATEST)


class _Client(Client):
    """A client whose commands end when the server does."""

    async def _execute_simple_command(self, conn: Connection, raw_command: bytes) -> bytes:
        conn.writer.write(raw_command)
        await conn.writer.drain()
        return (await conn.reader.readuntil(b"\r\n"))[:-2]  # aiomcache's own loop takes no end for an answer


class _Line(MemcachePool):
    """The one connection of a client: dialled when it is needed, and when it was closed meanwhile."""

    _connection: Connection | None = None

    async def acquire(self) -> Connection:
        """Return the connection, a new one in place of one that ended."""
        kept = self._connection
        if kept is not None and not kept.reader.at_eof() and kept.reader.exception() is None:
            return kept
        await self.clear()
        self._connection = Connection(*await asyncio.open_connection(self._host, self._port))
        return self._connection

    def release(self, conn: Connection) -> None:
        """Leave it where it is; its client closes it if its caller was cut off."""

    async def clear(self) -> None:
        """Drop the connection, also what could not be sent yet."""
        if self._connection is not None:
            self._connection.writer.transport.abort()
            self._connection = None
