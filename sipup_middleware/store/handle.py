"""An open store: the in-process tier, the second tier behind it, the stamps that end what is in either."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from time import time
from typing import Any, TypeVar

from sipup_middleware.store.codec import Codec
from sipup_middleware.store.crossing import Crossing
from sipup_middleware.store.flight import SingleFlight
from sipup_middleware.store.link import Link
from sipup_middleware.store.memory import Entry, Memory
from sipup_middleware.store.purges import Purges, names_of
from sipup_middleware.store.report import Report
from sipup_middleware.store.second import SecondTier
from sipup_middleware.store.stamps import PURGES, Stamps
from sipup_middleware.store.tags import Seal, TagSet
from sipup_middleware.store.values import Asking, Terms
from sipup_middleware.telemetry import Telemetry

__all__ = ("OpenStore",)

T = TypeVar("T")


class OpenStore:
    """What a `Store` opens. Synchronous methods touch this process alone; no method raises for an outage.

    Values are kept as the very objects given: do not change one after `keep`.
    """

    def __init__(  # noqa: PLR0913 (what it is made of)
        self,
        memory: Memory,
        stamps: Stamps,
        second: SecondTier | None,
        report: Report,
        *,
        link: Link | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        self.flights = SingleFlight()
        self._memory = memory
        self._entries = memory.entries
        self._stamps = stamps
        self._cells = stamps.cells
        self._second = second
        self.has_second_tier = second is not None
        """Whether `get` may find what `peek` does not."""
        self._crossing = None if second is None else Crossing(second, stamps, link, report, self.now)
        self._link = link
        self._purges = Purges(stamps, link, report)
        self._report = report
        self._clock = clock
        self._hits = self._misses = self._promoted = 0
        report.stats = self.stats
        if second is not None:
            report.ping = second.ping
        if link is not None:
            link.begin()

    async def start(self) -> None:
        """Wait for the link to other hosts, if there is one; the second tier connects at its first use."""
        if self._link is not None:
            await self._link.start()

    async def aclose(self) -> None:
        """Close the second tier's connections; what is in process stays readable to requests in flight."""
        self._report.forget(self.stats)
        if self._link is not None:
            await self._link.aclose()
        if self._second is not None:
            await self._second.aclose()

    def peek(self, key: bytes) -> Any | None:  # noqa: ANN401 (what was kept)
        """Return what this process has under *key*; None = nothing that is still valid."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not entry.kept <= self._clock() < entry.deadline or (
            entry.seal.purges != self._cells[PURGES] and not entry.seal.holds(self._stamps)
        ):
            self._memory.remove(entry)
            return None
        if self._link is not None and not self._link.trusts(entry.seal):
            return None  # not removed: it may be served again
        entry.visited = True
        self._hits += 1
        return entry.value

    async def get(self, key: bytes, codec: Codec[T]) -> T | None:
        """Return what either tier has under *key*; what the second had, the first has from now on."""
        value: T | None = self.peek(key)
        if value is None and self._crossing is not None:
            value = await self._fetch(self._crossing, key, codec)
        if value is None:
            self._misses += 1
        return value

    async def refetch(self, key: bytes, codec: Codec[T]) -> T | None:
        """Return what the second tier has, where another process may have renewed it; else what this has."""
        value: T | None = None
        if self._crossing is not None:
            value = await self._fetch(self._crossing, key, codec)
        return self.peek(key) if value is None else value

    def collect(self, *tags: str) -> TagSet:
        """Begin a thing that depends on *tags*; call it before anything is read for its making."""
        return TagSet(self._stamps, *tags)

    def keep(self, key: bytes, value: T, codec: Codec[T], *, ttl: float, tags: TagSet) -> bool:
        """Store *value* in process for *ttl* seconds; False = too big, no ttl, or a tag purged meanwhile."""
        if self._link is not None and not self._link.admits(tags):
            return False
        seal = tags.seal()
        if seal is None or not ttl > 0:
            return False
        return self._put(key, value, codec.size(value), ttl, seal)

    async def share(self, key: bytes, value: T, codec: Codec[T], *, ttl: float, tags: TagSet) -> None:
        """Store *value* in the second tier too, if there is one."""
        if self._crossing is not None and ttl > 0:
            await self._crossing.send(key, value, codec, ttl, tags)

    async def invalidate(
        self, *, tags: Iterable[str] = (), url: str | None = None, prefix: str | None = None
    ) -> None:
        """Make a miss of everything that carries one of *tags*, answers *url* or stands below *prefix*.

        A *url* without a query stands for all its queries; a *prefix* begins and ends with ``/``.
        """
        if names := names_of(tags, url, prefix):
            await self._purges.after(names)

    async def clear(self) -> None:
        """Make a miss of everything: a new generation begins, no key of the second tier is touched."""
        await self._purges.after(None)
        self._memory.clear()

    def purging(
        self,
        *,
        tags: Iterable[str] = (),
        url: str | None = None,
        prefix: str | None = None,
        everything: bool = False,
    ) -> AbstractAsyncContextManager[None]:
        """Purge around a write, however the write ends: no value from before it outlives this.

        For a COMMIT: while the body runs nothing with these tags is served or stored, so nobody can read
        before the write and store after it. A process that is killed in the body keeps the tags away for ten
        seconds; nobody waits for anything. *everything* is for a write that nobody could analyse.
        `invalidate` is for a write that is over.
        """
        names = None if everything else names_of(tags, url, prefix)
        return nullcontext() if names is not None and not names else self._purges.around(names)

    async def get_or_set(  # noqa: PLR0913 (all of it is about one value)
        self,
        key: str,
        make: Callable[[], Awaitable[T]],
        *,
        ttl: float,
        tags: Iterable[str] = (),
        stale: float = 0.0,
        early: float = 0.0,
    ) -> T:
        """Return the value stored under *key*, or what ``make()`` returns, stored for *ttl* seconds.

        Every caller, also the first, gets a copy of its own as JSON carries it (a tuple becomes a list). None
        is a value. Of many callers at once one makes the value; an exception is its caller's own, and the
        next one tries. Raises `ConfigurationError` for a value that JSON cannot carry.

        For *stale* seconds after *ttl* one caller at a time makes the value anew; the others, and all where
        that fails, get the old one. *early* is the beta of XFetch: with 1, some caller makes a value that is
        asked for often anew about as long before its end as its making takes; 0 = never before its end.
        """
        names = [tags] if isinstance(tags, str) else list(tags)
        inner = b"value:" + key.encode("utf-8", "surrogatepass")
        value: T = await Asking(self, inner, make, Terms(ttl, stale, early), names).answer()
        return value

    def delete(self, key: bytes) -> None:
        """Forget *key*: in this process now, in the second tier soon."""
        entry = self._entries.get(key)
        if entry is not None:
            self._memory.remove(entry)
        if self._crossing is not None:
            self._crossing.delete(key)

    def stats(self) -> dict[str, int]:
        """Return what this process counted since the store was opened, and whether its link is up."""
        linked = {} if self._link is None else self._link.stats()
        return linked | {
            "bytes": self._memory.bytes,
            "coalesced": self.flights.coalesced,
            "degraded": int(self._second is not None and self._second.degraded),
            "entries": len(self._entries),
            "errors": 0 if self._second is None else self._second.errors,
            "evictions": self._memory.evictions,
            "hits": self._hits,
            "misses": self._misses,
            "promoted": self._promoted,
        }

    def now(self) -> float:
        """Return the time by which the store's things end, in seconds since the epoch."""
        return self._clock()

    def count(self, name: str, **labels: str) -> None:
        """Count a rare thing in every app that uses the store."""
        self._report.count(name, **labels)

    def register(self, telemetry: Telemetry) -> None:
        """Report to *telemetry*: gauges, the check of the server, facts."""
        self._report.add(telemetry)

    def _put(self, key: bytes, value: object, size: int, ttl: float, seal: Seal) -> bool:
        now = self._clock()
        return self._memory.put(Entry(key, value, size=size, kept=now, deadline=now + ttl, seal=seal))

    async def _fetch(self, crossing: Crossing, key: bytes, codec: Codec[T]) -> T | None:
        crossed = await crossing.fetch(key, codec)
        if crossed is None:
            return None
        self._promoted += 1
        self._put(key, crossed.value, codec.size(crossed.value), crossed.ttl, crossed.seal)
        return crossed.value

    def _name(self, key: bytes) -> str:
        """Return what *key* is called in the second tier."""
        return "" if self._crossing is None else self._crossing.name(key)
