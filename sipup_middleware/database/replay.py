"""A bare ASGI handler that runs again finds its request where it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

from starlette.types import Message, Scope

__all__ = ("asgi_scope", "replaying")

T = TypeVar("T")

_ASGI = 3
"""What a bare ASGI app takes last: scope, receive, send."""


def asgi_scope(args: tuple[Any, ...]) -> Scope | None:
    """Return the scope that a bare ASGI app was called with; None = its arguments are its host's."""
    if len(args) < _ASGI or not isinstance(scope := args[-_ASGI], MutableMapping):
        return None
    return scope if "type" in scope and callable(args[-1]) and callable(args[-2]) else None


def replaying(handler: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> Callable[..., Awaitable[T]]:
    """Have a bare ASGI *handler* receive at each attempt what it received at the first."""
    if asgi_scope(args) is None:
        return handler
    seen: list[Message] = []

    def attempt(*args: Any, **kwargs: Any) -> Awaitable[T]:  # noqa: ANN401 (the handler's)
        *first, receive, send = args
        unread = deque(seen)

        async def again() -> Message:
            if not unread:
                unread.append(await receive())
                seen.append(unread[-1])
            return unread.popleft()

        return handler(*first, again, send, **kwargs)

    return attempt
