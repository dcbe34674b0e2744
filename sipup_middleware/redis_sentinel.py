"""How a Redis or Valkey is dialled that sentinels watch: at each dial they are asked who is the master."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

__all__ = ("FORM", "SentinelPool", "sentinel_pool", "watched")

FORM = "redis+sentinel://[user:password@]host:26379,host:26379/service?db=0"
"""How their URL is written. User and password are the servers'; ``sentinel_username`` and
``sentinel_password`` in the query are the sentinels' own."""

_PORT = 26379


class SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """A bounded pool of connections to whichever server is the master."""

    def __init__(self, service_name: str, sentinel_manager: Sentinel, **options: Any) -> None:  # noqa: ANN401 (redis-py's)
        super().__init__(service_name, sentinel_manager, **options)  # type: ignore[no-untyped-call]  # (redis-py)
        self._asking = asyncio.Lock()

    async def get_master_address(self) -> Any:  # noqa: ANN401 (redis-py's: host and port)
        """Ask the sentinels, one caller at a time: redis-py forgets one of them where two ask at once."""
        async with self._asking:
            return await super().get_master_address()  # type: ignore[no-untyped-call]  # (redis-py)

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 (redis-py's)
        """Close the connections and, with those in use, the sentinels' own."""
        await super().disconnect(inuse_connections)
        if inuse_connections:  # else a sentinel is just telling that the master is another
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.connection_pool.disconnect()


def sentinel_pool(url: str, *, timeout: float, **options: Any) -> SentinelPool:  # noqa: ANN401 (redis-py's)
    """Return a pool for the master that *url* names, in `FORM`; its query's options win over *options*.

    A sentinel that hangs costs its share of *timeout*, so that the others and the master still have theirs.
    Raises `ValueError` for a URL that it cannot read.
    """
    sentinels, service, asked = watched(url)
    share = timeout / (len(sentinels) + 1)
    credentials = {
        name: asked.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in asked
    }
    manager = Sentinel(  # type: ignore[no-untyped-call]  # (redis-py)
        sentinels,
        sentinel_kwargs={
            **{name: value for name, value in options.items() if name == "driver_info"},
            **credentials,
            "socket_connect_timeout": share,
            "socket_timeout": share,
            "retry": Retry(NoBackoff(), 0),  # the next sentinel is asked instead
        },
    )
    return SentinelPool(service, manager, **{"timeout": timeout, **options, **asked})


def watched(url: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """Return the sentinels, the service and the other options of *url*. Raises `ValueError` for nonsense."""
    before, _, query = url.partition("://")[2].partition("?")
    login, at, place = before.rpartition("@")
    hosts, _, service = place.partition("/")
    if not service or "/" in service:
        raise ValueError("no service is named")
    options: dict[str, Any] = {**parse_url(f"redis://{login}{at}master?{query}")}
    del options["host"]
    return [_address(each) for each in hosts.split(",")], unquote(service), options


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if not parts.hostname or parts.username is not None:
        raise ValueError("a sentinel has no host")
    return parts.hostname, parts.port or _PORT
