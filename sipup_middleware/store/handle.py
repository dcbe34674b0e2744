"""An open store: the in-process tier, the second tier behind it, the stamps that end what is in either."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from hashlib import blake2b
from time import time
from typing import Any, TypeVar

from sipup_middleware.store.codec import Codec
from sipup_middleware.store.envelope import Envelope, pack, unpack
from sipup_middleware.store.flight import SingleFlight
from sipup_middleware.store.memory import Entry, Memory
from sipup_middleware.store.report import Report
from sipup_middleware.store.second import SecondTier
from sipup_middleware.store.stamps import GENERATION, PURGES, Stamps
from sipup_middleware.store.tags import Seal, TagSet, prefix_tag, url_tag
from sipup_middleware.store.values import get_or_set
from sipup_middleware.telemetry import ResponsesPurged, Telemetry

__all__ = ("OpenStore",)

T = TypeVar("T")
_LONGEST = 10 * 365 * 86400.0
"""Seconds: what a server may be asked to keep a value."""


class OpenStore:
    """What a `Store` opens. Synchronous methods touch this process alone; no method raises for an outage.

    Values are kept as the very objects given: do not change one after `keep`.
    """

    def __init__(
        self,
        memory: Memory,
        stamps: Stamps,
        second: SecondTier | None,
        report: Report,
        *,
        clock: Callable[[], float] = time,
    ) -> None:
        self.flights = SingleFlight()
        self._memory = memory
        self._entries = memory.entries
        self._stamps = stamps
        self._cells = stamps.cells
        self._second = second
        self._report = report
        self._clock = clock
        self._hits = self._misses = self._promoted = 0
        report.stats = self.stats
        if second is not None:
            report.ping = second.ping

    async def start(self) -> None:
        """Nothing to warm up: the second tier connects at its first use."""

    async def aclose(self) -> None:
        """Close the second tier's connections; what is in process stays readable to requests in flight."""
        self._report.forget(self.stats)
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
        entry.visited = True
        self._hits += 1
        return entry.value

    async def get(self, key: bytes, codec: Codec[T]) -> T | None:
        """Return what either tier has under *key*; what the second had, the first has from now on."""
        value: T | None = self.peek(key)
        if value is None and self._second is not None:
            data = await self._second.get(self._name(key))
            value = None if data is None else self._promote(key, data, codec)
        if value is None:
            self._misses += 1
        return value

    def collect(self, *tags: str) -> TagSet:
        """Begin a thing that depends on *tags*; call it before anything is read for its making."""
        return TagSet(self._stamps, *tags)

    def keep(self, key: bytes, value: T, codec: Codec[T], *, ttl: float, tags: TagSet) -> bool:
        """Store *value* in process for *ttl* seconds; False = too big, no ttl, or a tag purged meanwhile."""
        seal = tags.seal()
        if seal is None or not ttl > 0:
            return False
        return self._put(key, value, codec.size(value), ttl, seal)

    async def share(self, key: bytes, value: T, codec: Codec[T], *, ttl: float, tags: TagSet) -> None:
        """Store *value* in the second tier too, if there is one."""
        if self._second is None or not ttl > 0 or (seal := tags.seal()) is None:
            return
        try:
            meta, body = codec.encode(value)
            ttl = min(max(ttl, 0.001), _LONGEST)
            data = pack(key, Envelope(meta, body, self._clock(), ttl, seal.cells, seal.stamps))
        except (TypeError, ValueError):
            self._report.count("store.errors", op="encode")
            return
        await self._second.set(self._name(key), data, ttl)

    async def invalidate(
        self, *, tags: Iterable[str] = (), url: str | None = None, prefix: str | None = None
    ) -> None:
        """Make a miss of everything that carries one of *tags*, answers *url* or stands below *prefix*.

        A *url* without a query stands for all its queries; a *prefix* begins and ends with ``/``.
        """
        names = [tags] if isinstance(tags, str) else list(tags)
        if url is not None:
            names.append(url_tag(url))
        if prefix is not None:
            names.append(prefix_tag(prefix))
        if names:
            self._purge(len(names), *map(self._stamps.cell, names))

    async def clear(self) -> None:
        """Make a miss of everything: a new generation begins, no key of the second tier is touched."""
        self._purge(0, GENERATION)
        self._memory.clear()

    async def get_or_set(
        self, key: str, make: Callable[[], Awaitable[T]], *, ttl: float, tags: Iterable[str] = ()
    ) -> T:
        """Return the value stored under *key*, or what ``make()`` returns, stored for *ttl* seconds.

        Every caller, also the first, gets a copy of its own as JSON carries it (a tuple becomes a list). None
        is a value. Of many callers at once one makes the value; an exception is its caller's own, and the
        next one tries. Raises `ConfigurationError` for a value that JSON cannot carry.
        """
        return await get_or_set(self, key, make, ttl=ttl, tags=tags)

    def delete(self, key: bytes) -> None:
        """Forget *key*: in this process now, in the second tier soon."""
        entry = self._entries.get(key)
        if entry is not None:
            self._memory.remove(entry)
        if self._second is not None:
            self._second.delete(self._name(key))

    def stats(self) -> dict[str, int]:
        """Return what this process counted since the store was opened."""
        return {
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

    def register(self, telemetry: Telemetry) -> None:
        """Report to *telemetry*: gauges, the check of the server, facts."""
        self._report.add(telemetry)

    def _put(self, key: bytes, value: object, size: int, ttl: float, seal: Seal) -> bool:
        now = self._clock()
        return self._memory.put(Entry(key, value, size=size, kept=now, deadline=now + ttl, seal=seal))

    def _promote(self, key: bytes, data: bytes, codec: Codec[T]) -> T | None:
        try:
            found = unpack(key, data)
            now = self._clock()
            ttl = found.kept + found.ttl - now
            seal = Seal(found.cells, found.stamps, -1)  # compared with the present stamps, whatever they are
            if found.kept > now or ttl <= 0 or not seal.holds(self._stamps):
                return None
            value = codec.decode(found.meta, found.body)
        except (ValueError, LookupError, TypeError):
            self._report.count("store.errors", op="decode")
            return None
        self._promoted += 1
        self._put(key, value, codec.size(value), ttl, seal)
        return value

    def _purge(self, tags: int, *cells: int) -> None:
        self._stamps.purge(cells)
        self._report.count("cache.purges")
        self._report.emit(ResponsesPurged(tags))

    def _name(self, key: bytes) -> str:
        """Return the second tier's name of *key*: each host has its own, as it has its own stamps."""
        return blake2b(key, digest_size=20, key=self._stamps.secret).hexdigest()
