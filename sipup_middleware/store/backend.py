"""What a second tier is, and which driver a URL names."""

from __future__ import annotations

from typing import Protocol

from sipup_middleware.redis_pool import SCHEMES as _REDIS

__all__ = ("SCHEMES", "Backend", "connect")

SCHEMES = (*_REDIS, "file", "memcached")
"""What the URL of a second tier begins with."""


class Backend(Protocol):
    """Keeps bytes, on an asyncio loop. Raises `StoreUnavailable` within its timeout, and nothing else."""

    async def get(self, key: str, /) -> bytes | None:
        """Return what *key* holds."""

    async def set(self, key: str, data: bytes, ttl: float, /) -> bool:
        """Let *key* hold *data* for *ttl* seconds; False = there is no room for it: too large, or full."""

    async def delete(self, key: str, /) -> None:
        """Let *key* hold nothing."""

    async def ping(self) -> None:
        """Ask for a sign of life."""

    async def aclose(self) -> None:
        """Close every connection."""


def connect(url: str, timeout: float) -> Backend:
    """Return the backend that *url* names by one of `SCHEMES`; connects at the first command.

    Raises `MissingExtra` where a library is missing, `ConfigurationError` for a URL it cannot read.
    """
    scheme = url.partition("://")[0]
    if scheme == "file":
        from sipup_middleware.store.backend_file import file_backend  # noqa: PLC0415 (imports its library)

        return file_backend(url, timeout)
    if scheme == "memcached":
        from sipup_middleware.store.backend_memcached import memcached_backend  # noqa: PLC0415 (likewise)

        return memcached_backend(url, timeout)
    from sipup_middleware.store.backend_redis import redis_backend  # noqa: PLC0415 (likewise)

    return redis_backend(url, timeout)
