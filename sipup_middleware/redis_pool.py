"""How Redis and Valkey are dialled: a bounded pool of connections, for whoever keeps something there."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sipup_middleware.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from redis.asyncio import BlockingConnectionPool

__all__ = ("MAX_CONNECTIONS", "SCHEMES", "redis_pool")

_SENTINEL = "+sentinel"
SCHEMES = ("redis", "rediss", "unix", "valkey", f"redis{_SENTINEL}", f"valkey{_SENTINEL}")
"""What a URL of such a server begins with."""

MAX_CONNECTIONS = 16
"""Sockets a process opens; more calls than that wait, as long as their deadline allows."""


def redis_pool(
    url: str, *, timeout: float, option: str, extra: str, connections: int = MAX_CONNECTIONS
) -> BlockingConnectionPool:
    """Return a pool for *url* that connects when it is first used, within *timeout* seconds.

    Where *url* names sentinels, it follows the master. Raises `ConfigurationError` that names *option* for a
    URL it cannot read, `MissingExtra` where redis-py is missing.
    """
    try:
        from redis.asyncio import BlockingConnectionPool  # noqa: PLC0415 (only such a URL needs it)
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        from sipup_middleware.redis_sentinel import FORM, sentinel_pool  # noqa: PLC0415 (imports redis-py)
    except ImportError as error:
        raise MissingExtra(extra) from error
    has_sentinels = url.partition("://")[0].endswith(_SENTINEL)
    options: dict[str, Any] = {
        "max_connections": connections,
        "timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 1),  # a connection that went stale in the pool is not an outage
        **_nameless(),
    }
    pool: BlockingConnectionPool
    try:
        if has_sentinels:
            pool = sentinel_pool(url, **options)
        else:
            known = f"redis{url.removeprefix('valkey')}" if url.startswith("valkey:") else url
            pool = BlockingConnectionPool.from_url(known, **options)
        pool.make_connection()  # type: ignore[no-untyped-call]  # inert; refuses options that do not exist
    except (TypeError, ValueError):
        form = f"its form is {FORM}" if has_sentinels else "see redis-py's from_url for its form"
        raise ConfigurationError(f"{option} cannot be read: {form}") from None
    return pool


def _nameless() -> dict[str, Any]:
    """Return what keeps redis-py from reading its version from disk at each connect, to tell it."""
    return {"driver_info": None} if find_spec("redis.driver_info") else {}
