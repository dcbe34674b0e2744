"""How a value crosses to the second tier and back, with what it depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Generic, TypeVar

from anyio import CancelScope

from sipup_middleware.store.codec import Codec
from sipup_middleware.store.envelope import Envelope, pack, unpack
from sipup_middleware.store.link import Link
from sipup_middleware.store.report import Report
from sipup_middleware.store.second import SecondTier
from sipup_middleware.store.stamps import Stamps
from sipup_middleware.store.tags import Seal, TagSet

__all__ = ("Crossed", "Crossing")

T = TypeVar("T")
_LONGEST = 10 * 365 * 86400.0
"""Seconds: what a server may be asked to keep a value."""


@dataclass(frozen=True, slots=True)
class Crossed(Generic[T]):
    """A value from the second tier, for so many more seconds, while its seal holds."""

    value: T
    ttl: float
    seal: Seal


class Crossing:
    """The second tier of a store; where hosts are linked, only while the link is up."""

    def __init__(
        self,
        second: SecondTier,
        stamps: Stamps,
        link: Link | None,
        report: Report,
        clock: Callable[[], float],
    ) -> None:
        self._second = second
        self._stamps = stamps
        self._link = link
        self._report = report
        self._clock = clock

    async def fetch(self, key: bytes, codec: Codec[T]) -> Crossed[T] | None:
        """Return what lies there under *key* and is valid here."""
        if not self._is_open:
            return None
        began = self._stamps.now()
        data = await self._second.get(self.name(key))
        return None if data is None else await self.read(key, data, codec, began)

    async def read(self, key: bytes, data: bytes, codec: Codec[T], began: int) -> Crossed[T] | None:
        """Return what *data*, asked for at *began*, is worth; it is not trusted."""
        try:
            found = unpack(key, data)
            now = self._clock()
            ttl = found.kept + found.ttl - now
            if found.kept > now or ttl <= 0 or (seal := await self._held(found, began)) is None:
                return None
            return Crossed(codec.decode(found.meta, found.body), ttl, seal)
        except (ValueError, LookupError, TypeError):
            self._report.count("store.errors", op="decode")
            return None

    async def send(self, key: bytes, value: T, codec: Codec[T], ttl: float, tags: TagSet) -> None:
        """Let *value* lie there for *ttl* seconds; not if one of its *tags* was purged during its making."""
        if not self._is_open:
            return
        ttl = min(max(ttl, 0.001), _LONGEST)
        with CancelScope(shield=True):
            if (sealed := await self._sealed(tags, ttl)) is None:
                return
            try:
                meta, body = codec.encode(value)
                data = pack(key, Envelope(meta, body, self._clock(), ttl, *sealed))
            except (TypeError, ValueError):
                self._report.count("store.errors", op="encode")
                return
            await self._second.set(self.name(key), data, ttl)

    def delete(self, key: bytes) -> None:
        """Let nothing lie there under *key*, soon."""
        if self._is_open:
            self._second.delete(self.name(key))

    def name(self, key: bytes) -> str:
        """Return what *key* is called there; hosts that do not share stamps do not share names."""
        return blake2b(key, digest_size=20, key=self._stamps.secret).hexdigest()

    @property
    def _is_open(self) -> bool:
        return self._link is None or self._link.is_up

    async def _held(self, found: Envelope, began: int) -> Seal | None:
        """Return under what *found* may be kept in process; None = it depends on something purged since."""
        cells: Any = found.cells  # not checked yet
        stamps: Any = found.stamps
        if self._link is not None:
            return await self._link.seal(cells, stamps, began)
        seal = Seal(cells, stamps, -1)  # compared with the present stamps, whatever they are
        return seal if seal.holds(self._stamps) else None

    async def _sealed(self, tags: TagSet, ttl: float) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
        """Return what an envelope says of its *tags*; None = it must not be shared."""
        if self._link is not None:
            return await self._link.stamp(tags, ttl)
        seal = tags.seal()
        return None if seal is None else (seal.cells, seal.stamps)
