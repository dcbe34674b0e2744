"""The in-process tier: a dict under a bound of bytes, evicted by SIEVE (Zhang et al., NSDI 2024).

SIEVE keeps a queue in order of arrival. A hit only marks the entry; when room is needed, a hand walks from
the oldest towards the newest, clears marks, and evicts the first entry that has none. What is asked for once
leaves soon, what is asked for again stays, and a hit moves nothing.
"""

from __future__ import annotations

from typing import Any

from sipup_middleware.store.tags import Seal

__all__ = ("OVERHEAD", "Entry", "Memory")

OVERHEAD = 500
"""Bytes that an entry takes beside its key, its value and its seal: objects, dict slot, links."""

_A_STAMP = 80
"""Bytes of one more cell and stamp in a seal: two ints and their places."""


class Entry:
    """A stored value, and for how long and on what condition it may be used."""

    __slots__ = ("deadline", "kept", "key", "newer", "older", "seal", "size", "value", "visited")

    newer: Entry | None
    older: Entry | None

    def __init__(  # noqa: PLR0913 (all of it is needed, in one place)
        self,
        key: bytes,
        value: Any,  # noqa: ANN401 (what the caller keeps)
        *,
        size: int,
        kept: float,
        deadline: float,
        seal: Seal,
    ) -> None:
        self.key = key
        self.value = value
        self.size = size + len(key) + OVERHEAD + _A_STAMP * len(seal.cells)
        self.kept = kept
        self.deadline = deadline
        self.seal = seal
        self.visited = False
        self.newer = None
        self.older = None


class Memory:
    """Entries by key; never more bytes than *max_bytes*."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.evictions = 0
        self.entries: dict[bytes, Entry] = {}
        self._newest: Entry | None = None
        self._oldest: Entry | None = None
        self._hand: Entry | None = None

    def put(self, entry: Entry) -> bool:
        """Store *entry* in place of one with its key; False = it alone is over the bound."""
        before = self.entries.get(entry.key)
        if before is not None:
            entry.visited = before.visited
            self.remove(before)
        if entry.size > self.max_bytes:
            return False
        while self.bytes + entry.size > self.max_bytes:
            self._evict()
        self.entries[entry.key] = entry
        self.bytes += entry.size
        self._link(entry)
        return True

    def remove(self, entry: Entry) -> None:
        """Forget *entry*, unless it is no longer the one with its key."""
        if self.entries.get(entry.key) is not entry:
            return
        del self.entries[entry.key]
        self.bytes -= entry.size
        self._unlink(entry)

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()
        self.bytes = 0
        self._newest = self._oldest = self._hand = None

    def _evict(self) -> None:
        hand = self._hand or self._oldest
        while hand is not None and hand.visited:
            hand.visited = False
            hand = hand.newer or self._oldest
        if hand is not None:
            self._hand = hand
            self.evictions += 1
            self.remove(hand)

    def _link(self, entry: Entry) -> None:
        entry.older = self._newest
        if self._newest is None:
            self._oldest = entry
        else:
            self._newest.newer = entry
        self._newest = entry

    def _unlink(self, entry: Entry) -> None:
        if self._hand is entry:
            self._hand = entry.newer
        if entry.newer is None:
            self._newest = entry.older
        else:
            entry.newer.older = entry.older
        if entry.older is None:
            self._oldest = entry.newer
        else:
            entry.older.newer = entry.newer
        entry.newer = entry.older = None
