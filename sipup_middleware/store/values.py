"""Values that an app caches by hand: made once for all who ask at once, kept as their JSON text.

A value that is due, because it is stale or about to be, is renewed by one caller in its own time, since what
makes it belongs to that caller's loop; the others get it as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf, log
from random import random
from time import monotonic
from typing import TYPE_CHECKING, Any

from sipup_middleware.context import current
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store.codec import JsonCodec, freeze, thaw
from sipup_middleware.store.tags import TagSet

if TYPE_CHECKING:
    from sipup_middleware.store.handle import OpenStore

__all__ = ("Asking", "Made", "Terms")

_JSON = JsonCodec()


@dataclass(slots=True)  # not frozen: that costs half a microsecond a call
class Terms:
    """For how long a value is good."""

    ttl: float
    """Seconds that it is fresh; 0 = it is not stored."""

    stale: float = 0.0
    """Seconds after these in which it is still given to those who need not wait for a new one."""

    early: float = 0.0
    """How eagerly it is renewed before it is stale; 0 = not. `Made.is_due` says what it is multiplied by."""

    def __post_init__(self) -> None:
        for name in ("ttl", "stale", "early"):
            value = getattr(self, name)
            if not 0 <= value < inf:
                raise ConfigurationError(f"{name} must be a finite number, at least 0, not {value}")

    @property
    def life(self) -> float:
        """Seconds that it is kept."""
        return self.ttl and self.ttl + self.stale


@dataclass(slots=True)  # likewise
class Made:
    """A value as it is kept."""

    text: bytes
    """Its JSON."""

    until: float
    """When it ceases to be fresh, in seconds since the epoch."""

    took: float
    """Seconds that its making took."""

    def is_due(self, now: float, early: float, draw: Callable[[], float] = random) -> bool:
        """Say whether to renew it: it is stale, or chance has one caller do so in time.

        The dearer the value and the nearer its end, the likelier: XFetch (Vattani, Chierichetti, Lowenstein:
        Optimal Probabilistic Cache Stampede Prevention, VLDB 2015), with *early* for its beta.
        """
        ahead = early * self.took * -log(1.0 - draw()) if early else 0.0
        return now + ahead >= self.until


class _Codec:
    """How they cross to the second tier."""

    def encode(self, value: Made) -> tuple[object, bytes]:
        """Let the text be the body."""
        return [value.until, value.took], value.text

    def decode(self, meta: Any, body: bytes) -> Made:  # noqa: ANN401 (whatever JSON may hold)
        """Check that the body is JSON."""
        until, took = meta
        return Made(_JSON.decode(None, body), float(until), float(took))

    def size(self, value: Made) -> int:
        """Return the bytes of the text and of what stands beside it."""
        return len(value.text) + 150


_CODEC = _Codec()


@dataclass(slots=True)  # likewise
class Asking:
    """One call for a value."""

    store: OpenStore
    key: bytes
    make: Callable[[], Awaitable[object]]
    terms: Terms
    tags: list[str]

    async def answer(self) -> Any:  # noqa: ANN401 (whatever JSON may hold)
        """Return a copy of the value; the response that is being made depends on its tags too."""
        _depend_on(self.tags)
        old = await self._usable()
        if old is None or (
            old.is_due(self.store.now(), self.terms.early) and self.key not in self.store.flights.leaders
        ):
            return thaw((await self._renew(old)).text)
        return thaw(old.text)

    async def _usable(self) -> Made | None:
        found = await self.store.get(self.key, _CODEC)
        return found if found is not None and self.store.now() < found.until + self.terms.stale else None

    async def _renew(self, old: Made | None) -> Made:
        """Make it; where that fails, what was there does, unless it was purged or has ended meanwhile."""
        try:
            found, tags = await self._settle(old)
        except ConfigurationError:
            raise  # what cannot be cached never will be
        except Exception:
            kept = None if old is None else await self._usable()
            if kept is None:
                raise
            self.store.count("store.errors", op="make")
            return kept
        if tags is not None:  # the followers are on their way
            await self.store.share(self.key, found, _CODEC, ttl=self.terms.life, tags=tags)
        return found

    async def _settle(self, old: Made | None) -> tuple[Made, TagSet | None]:
        """Make it, or wait for the one who does; its tags go to its maker alone."""
        give_up = monotonic() + self.store.flights.wait
        while True:
            async with self.store.flights.join(self.key) as flight:
                found = await self._made_since(old)
                if found is not None:
                    return found, None
                if flight.failed and not flight.leads and monotonic() < give_up:
                    continue
                tags = self.store.collect(*self.tags)
                found = await self._make()
                self.store.keep(self.key, found, _CODEC, ttl=self.terms.life, tags=tags)
                return found, tags

    async def _made_since(self, old: Made | None) -> Made | None:
        """Return what another caller has made; one that found an *old* one asks other processes too."""
        if old is None:
            found: Made | None = self.store.peek(self.key)
        else:
            found = await self.store.refetch(self.key, _CODEC)
        if found is None or (old is not None and found.until == old.until):
            return None
        return found if self.store.now() < found.until + self.terms.stale else None

    async def _make(self) -> Made:
        began = monotonic()
        text = freeze(await self.make())
        return Made(text, self.store.now() + self.terms.ttl, monotonic() - began)


def _depend_on(tags: list[str]) -> None:
    try:
        collected = current().tags
    except ConfigurationError:
        return  # called outside a request
    if collected is not None:
        collected.add(*tags)
