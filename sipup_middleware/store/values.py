"""Values that an app caches by hand: made once for all who ask at once, kept as their JSON text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from sipup_middleware.context import current
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store.codec import JsonCodec, freeze, thaw
from sipup_middleware.store.tags import TagSet

if TYPE_CHECKING:
    from sipup_middleware.store.handle import OpenStore

__all__ = ("get_or_set",)

T = TypeVar("T")
_JSON = JsonCodec()


async def get_or_set(
    store: OpenStore, key: str, make: Callable[[], Awaitable[T]], *, ttl: float, tags: Iterable[str]
) -> T:
    """Do what `OpenStore.get_or_set` says; the second tier is written when the followers are on their way."""
    names = [tags] if isinstance(tags, str) else list(tags)
    _depend_on(names)
    inner = b"value:" + key.encode("utf-8", "surrogatepass")
    text = await store.get(inner, _JSON)
    if text is None:
        text, made = await _settle(store, inner, make, ttl, names)
        if made is not None:
            await store.share(inner, text, _JSON, ttl=ttl, tags=made)
    value: T = thaw(text)
    return value


async def _settle(
    store: OpenStore, key: bytes, make: Callable[[], Awaitable[object]], ttl: float, names: list[str]
) -> tuple[bytes, TagSet | None]:
    """Make the value, or wait for the one who does; its tags go to its maker alone."""
    give_up = monotonic() + store.flights.wait
    while True:
        async with store.flights.join(key) as flight:
            text: bytes | None = store.peek(key)
            if text is not None:
                return text, None
            if flight.failed and not flight.leads and monotonic() < give_up:
                continue
            tags = store.collect(*names)
            text = freeze(await make())
            store.keep(key, text, _JSON, ttl=ttl, tags=tags)
            return text, tags


def _depend_on(tags: list[str]) -> None:
    """Let the response that is being made depend on *tags* too."""
    try:
        collected = current().tags
    except ConfigurationError:
        return  # called outside a request
    if collected is not None:
        collected.add(*tags)
