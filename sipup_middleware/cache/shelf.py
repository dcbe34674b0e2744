"""Where the answers of one URL lie in the store, also where request headers choose among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.types import Scope

from sipup_middleware.cache.stored import CODEC, Entry, StoredResponse, Variants
from sipup_middleware.context import Context
from sipup_middleware.store import OpenStore, TagSet

__all__ = ("Found", "Placed", "Shelf")

Headers = Iterable[tuple[bytes, bytes]]
Found = StoredResponse | str
"""An answer; or why there is none, as RFC 9211 names it."""

Placed = tuple[bytes, Entry, float, TagSet]
"""A key, what lies there, for how many seconds, and what it depends on."""


class Shelf:
    """Finds and places answers."""

    __slots__ = ("_clock", "_most")

    def __init__(self, *, max_variants: int, clock: Callable[[], float]) -> None:
        self._most = max_variants
        self._clock = clock

    def peek(self, store: OpenStore, key: bytes, headers: Headers) -> Found:
        """Return the fresh answer in this process to a request with these *headers*."""
        found = store.peek(key)
        if type(found) is Variants:
            found = store.peek(found.key(key, headers))
            return found if type(found) is StoredResponse else "vary-miss"
        return found if type(found) is StoredResponse else "uri-miss"

    async def fetch(self, store: OpenStore, key: bytes, headers: Headers) -> Found:
        """Return the fresh answer, of this process or the second tier."""
        found = await store.get(key, CODEC)
        if type(found) is Variants:
            found = await store.get(found.key(key, headers), CODEC)
            return found if type(found) is StoredResponse else "vary-miss"
        return found if type(found) is StoredResponse else "uri-miss"

    def place(self, store: OpenStore, key: bytes, headers: Headers) -> bytes:
        """Return the key under which the answer lies or would lie, as far as is known before it is there."""
        found = store.peek(key)
        return found.key(key, headers) if type(found) is Variants else key

    def keep(self, scope: Scope, key: bytes, answer: StoredResponse, vary: tuple[bytes, ...]) -> list[Placed]:
        """Place *answer* in this process; return what is to be shared; nothing = it was refused."""
        context: Context = scope["sipup"]
        store, tags, now = context.store, context.tags or context.store.collect(), self._clock()
        ttl = answer.born + answer.lifetime - now
        if not vary:
            return self._put(store, [(key, answer, ttl, tags)])
        found = store.peek(key)
        if type(found) is not Variants or found.fields != vary:
            found = Variants(vary, (), now)
        own = found.key(key, scope["headers"])
        kept = found.adding(own[len(key) :], now + ttl, most=self._most)
        for one in found.kept:
            if one not in kept.kept:
                store.delete(key + one)
        return self._put(store, [(own, answer, ttl, tags), (key, kept, kept.until - now, store.collect())])

    def _put(self, store: OpenStore, placed: list[Placed]) -> list[Placed]:
        for key, entry, ttl, tags in placed:
            if not store.keep(key, entry, CODEC, ttl=ttl, tags=tags):
                return []
        return placed
