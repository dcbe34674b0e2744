"""An object of the driver that lives on another loop than its caller's, used as if it were here.

What it would have awaited is awaited on its own loop; a transaction, a prepared statement or a cursor that it
gives is as far away as it is. What it only tells is told at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from inspect import isawaitable
from types import TracebackType
from typing import Any

from sipup_middleware.bridge import Home
from sipup_middleware.database.backend import Record

__all__ = ("Far",)


class Far:
    """Stands for *near*, which lives on *home*; a callback given to it is called there."""

    __slots__ = ("_home", "_near")

    def __init__(self, near: Any, home: Home) -> None:  # noqa: ANN401 (whatever the driver has)
        self._near = near
        self._home = home

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever the driver has)
        found = getattr(self._near, name)
        if not callable(found):
            return self._seen(found)

        def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401 (whatever the driver has)
            return self._seen(found(*args, **options))

        return call

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._there(_awaited, self._near).__await__()

    def __aiter__(self) -> Far:
        return Far(self._near.__aiter__(), self._home)

    async def __anext__(self) -> Any:  # noqa: ANN401 (whatever the driver has)
        return await self._there(_next, self._near)

    async def __aenter__(self) -> Any:  # noqa: ANN401 (whatever the driver has)
        return await self._there(self._near.__aenter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:  # noqa: ANN401 (whatever the driver has)
        return await self._there(self._near.__aexit__, kind, error, trace)

    async def _there(self, function: Any, *args: Any) -> Any:  # noqa: ANN401 (whatever the driver has)
        return self._seen(await self._home.call(function, *args))

    def _seen(self, found: Any) -> Any:  # noqa: ANN401 (whatever the driver has)
        is_drivers = type(found).__module__.startswith("asyncpg.") and not isinstance(found, (Record, tuple))
        return Far(found, self._home) if is_drivers or isawaitable(found) else found


async def _awaited(near: Awaitable[Any]) -> Any:  # noqa: ANN401 (whatever the driver has)
    return await near


async def _next(near: Any) -> Any:  # noqa: ANN401 (whatever the driver has)
    return await near.__anext__()
