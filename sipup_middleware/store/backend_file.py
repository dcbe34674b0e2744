"""A directory as a second tier: no server, warm over restarts, shared by the processes of a host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, TypeVarTuple

from sipup_middleware.errors import MissingExtra
from sipup_middleware.store.backend import Backend
from sipup_middleware.store.directory import Directory, place_of
from sipup_middleware.store.driver import Driver, deadline

try:
    from aiocache.base import BaseCache
    from aiocache.serializers import NullSerializer
except ImportError as error:
    raise MissingExtra("cache") from error

__all__ = ("FileCache", "file_backend")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREADS = 4
"""Of our own: a disk that hangs must not take those that the app resolves names with."""


def file_backend(url: str, timeout: float) -> Backend:
    """Return the backend for *url*; raises `ConfigurationError` where it cannot be read."""
    return _Files(FileCache(Directory(*place_of(url))), timeout)


class _Files(Driver):
    """One cache; a call that is cut off goes on in its thread, and harms nobody there."""

    def __init__(self, cache: FileCache, timeout: float) -> None:
        self._cache = cache
        self._timeout = timeout

    def _lend(self) -> AbstractAsyncContextManager[FileCache]:
        return deadline(self._timeout, self._cache)

    async def ping(self) -> None:
        """Find out whether something could be stored."""
        async with self._lend() as cache:
            await cache.check()

    async def aclose(self) -> None:
        """Begin nothing more."""
        await self._cache.close()


class FileCache(BaseCache):  # type: ignore[misc]  # (aiocache has no types)
    """A `Directory` behind aiocache's interface; works on any asyncio loop, in threads."""

    NAME = "file"

    def __init__(self, directory: Directory) -> None:
        super().__init__(serializer=NullSerializer(encoding=None), timeout=None)
        self._directory = directory
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sipup-files")

    async def check(self) -> None:
        """Raise OSError where nothing can be stored."""
        await self._run(self._directory.check)

    async def _get(self, key: str, encoding: str | None = None, _conn: Any = None) -> bytes | None:  # noqa: ANN401, ARG002 (aiocache's)
        return await self._run(self._directory.read, key)

    async def _set(
        self,
        key: str,
        value: bytes,
        ttl: float,
        _cas_token: Any = None,  # noqa: ANN401 (aiocache's)
        _conn: Any = None,  # noqa: ANN401 (aiocache's)
    ) -> bool:
        kept = await self._run(self._directory.write, key, value, ttl)
        if self._directory.is_crowded:
            self._threads.submit(self._directory.sweep)
        return kept

    async def _delete(self, key: str, _conn: Any = None) -> None:  # noqa: ANN401 (aiocache's)
        await self._run(self._directory.remove, key)

    async def _close(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 (aiocache's)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
