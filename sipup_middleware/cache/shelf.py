"""Where the answers of one URL lie in the store, also where request headers choose among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.types import Scope

from sipup_middleware.cache.stored import CODEC, Entry, StoredResponse, Variants
from sipup_middleware.cache.vary import variant
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
        """Return the answer in this process to a request with these *headers*, fresh or stale."""
        found = store.peek(key)
        if type(found) is Variants:
            found = store.peek(found.key(key, headers))
            return found if type(found) is StoredResponse else "vary-miss"
        return found if type(found) is StoredResponse else "uri-miss"

    async def fetch(self, store: OpenStore, key: bytes, headers: Headers) -> Found:
        """Return the answer, fresh or stale, of this process or the second tier."""
        found = await store.get(key, CODEC)
        if type(found) is Variants:
            found = await store.get(found.key(key, headers), CODEC)
            return found if type(found) is StoredResponse else "vary-miss"
        return found if type(found) is StoredResponse else "uri-miss"

    async def refetch(self, store: OpenStore, key: bytes, headers: Headers) -> Found:
        """Return the answer that another process may have renewed in the second tier."""
        found = await store.refetch(self.place(store, key, headers), CODEC)
        return found if type(found) is StoredResponse else "uri-miss"

    def place(self, store: OpenStore, key: bytes, headers: Headers) -> bytes:
        """Return the key under which the answer lies or would lie, as far as is known before it is there."""
        found = store.peek(key)
        return found.key(key, headers) if type(found) is Variants else key

    def drop(self, store: OpenStore, key: bytes, headers: Headers) -> None:
        """Forget the answer to a request with these *headers*; its other variants stay."""
        store.delete(self.place(store, key, headers))

    def keep(  # noqa: PLR0913 (a key, a thing, and on what terms it lies there)
        self,
        scope: Scope,
        key: bytes,
        answer: StoredResponse,
        vary: tuple[bytes, ...],
        *,
        until: float,
        tags: TagSet,
    ) -> list[Placed]:
        """Place *answer* in this process, *until* then; return what is to be shared; nothing = refused."""
        store: OpenStore = scope["sipup"].store
        now = self._clock()
        ttl = until - now
        if not vary:
            return [(key, answer, ttl, tags)] if store.keep(key, answer, CODEC, ttl=ttl, tags=tags) else []
        found = store.peek(key)
        if type(found) is not Variants or found.fields != vary:
            found = Variants(vary, (), now)
        one = variant(found.fields, scope["headers"])
        kept = found.adding(one, until, most=self._most)
        for each in found.kept:
            if each not in kept.kept:
                store.delete(found.named(each, key))
        placed: list[Placed] = [
            (found.named(one, key), answer, ttl, tags),
            (key, kept, kept.until - now, store.collect()),
        ]
        return self._put(store, placed)

    def _put(self, store: OpenStore, placed: list[Placed]) -> list[Placed]:
        for key, entry, ttl, tags in placed:
            if not store.keep(key, entry, CODEC, ttl=ttl, tags=tags):
                return []
        return placed
