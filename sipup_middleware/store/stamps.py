"""Stamps: one 64-bit number a tag, in memory that all workers of a host map.

A purge writes a fresh stamp; what was made under another is no longer valid. The cells are aligned 64-bit
words, read and written whole. The first `_HEADER` cells are about the file itself, the others are slots: a
tag's slot is a hash of it, keyed by a secret, so a collision can neither be sought nor cost more than a miss.

`pending` says what a stamp tells. Zero is the stamp of a tag that was never purged since the file was made:
what carries it also carries the file's generation, so it says as much as any other.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from secrets import randbits, token_bytes
from time import monotonic

from sipup_middleware.store.over import CELLS as NOTES
from sipup_middleware.store.over import Over
from sipup_middleware.store.pending import Pending, fresh, mark, time_of
from sipup_middleware.store.stampfile import map_file

__all__ = ("GENERATION", "OWED", "PURGES", "SLOTS", "Stamps", "cell_of")

SLOTS = 1 << 20
"""Tags share a slot when their hashes meet: then the purge of one purges the other too."""

PURGES = 1
"""The cell that every purge changes, first and last of all."""

GENERATION = 2
"""The cell whose stamp everything carries."""

_NEWEST = 3
"""The cell of the youngest stamp; one from the future is of before the host last started."""

_SECRET = slice(4 * 8, 6 * 8)
_MAPPING = 6
"""The cell that tells by which secret tags are given their cells; 0 = by the file's own."""

OWED = 7
"""The cell that holds the mark of a process that owes other hosts a purge; 0 = none does."""

_HEADER = 64
_OVER = _HEADER + SLOTS
"""From here on writes are noted that are over."""

_SIZE = 8 * (_OVER + NOTES)
_KNOWN = 1 << 16
_LONG = 256
_NAME = "stamps.1"


class Stamps:
    """The stamps of one host, or with no *directory* of this process alone."""

    def __init__(
        self,
        directory: str | None = None,
        *,
        link: str = "",
        parents: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Share the file of *directory* with those who name the same *link* to other hosts, or none.

        With *parents* the directories above it are made too.
        """
        self._clock = clock
        self._slots: dict[str, int] = {}
        if directory is None:
            memory = mmap.mmap(-1, _SIZE)
            self._begin(memory)
        else:
            path = Path(directory) / (f"{_NAME}.{link}" if link else _NAME)
            memory = map_file(path, _SIZE, self._begin, parents=parents)
        self.host = self.secret = bytes(memory[_SECRET])
        """What tells hosts apart; by the other tags are digested."""
        self._mapping = 0
        self.cells = memoryview(memory).cast("Q")
        """Read them; only the methods below write."""
        self._over = Over(self.cells, _OVER)

    def _begin(self, memory: mmap.mmap) -> None:
        """Make memory ready that is new, or whose stamps are of before the host's clock began anew."""
        cells = memoryview(memory).cast("Q")
        if not cells[GENERATION]:
            memory[_SECRET] = token_bytes(16)
        elif time_of(cells[_NEWEST]) > self.now():
            memory[8 * _HEADER :] = bytes(_SIZE - 8 * _HEADER)
        else:
            return
        cells[_NEWEST] = stamp = fresh(self.now())
        cells[PURGES] = randbits(64)
        cells[GENERATION] = stamp  # last: until it is there the file is not begun

    def now(self) -> int:
        """Return the time as stamps tell it: microseconds that never go back while the host is up."""
        return int(self._clock() * 1_000_000)

    def adopt(self, secret: bytes) -> None:
        """Digest tags by *secret* from now on; what this host has stored under another is gone."""
        mapping = int.from_bytes(blake2b(secret, digest_size=8).digest(), "little") or 1
        self.secret, self._slots = secret, {}
        self._mapping = mapping  # last: whoever finds it current finds the others with it
        if self.cells[_MAPPING] != mapping:
            self.cells[_MAPPING] = mapping
            self.purge([GENERATION])

    @property
    def is_current(self) -> bool:
        """Whether this process gives tags the cells that its host now does; else it stores nothing."""
        return self.cells[_MAPPING] == self._mapping

    def digest(self, tag: str) -> bytes:
        """Return what *tag* is called where its name is not to be told."""
        return blake2b(tag.encode("utf-8", "surrogatepass"), digest_size=16, key=self.secret).digest()

    def cell(self, tag: str) -> int:
        """Return the index of the cell that holds the stamp of *tag*."""
        slots = self._slots  # `adopt`, on another thread, begins others
        cell = slots.get(tag)
        if cell is None:
            cell = cell_of(self.digest(tag))
            if len(tag) <= _LONG:
                if len(slots) >= _KNOWN:
                    slots.clear()
                slots[tag] = cell
        return cell

    def cells_of(self, tags: Iterable[str]) -> list[int]:
        """Return the cells that a purge of *tags* is to write: where theirs are not known, everything's."""
        cells = [*map(self.cell, tags)]
        return cells if self.is_current else [GENERATION]

    def purge(self, cells: Iterable[int]) -> None:
        """Make invalid what carries the present stamp of any of *cells*, because of a write that is over.

        Where another write is pending that stands: it says as much and more.
        """
        held, purged = self.cells, tuple(cells)

        def write(now: int) -> None:
            stamp = fresh(now)
            for cell in purged:
                if not self._over.open(held[cell], now):
                    held[cell] = stamp

        self._write(write)

    def pend(self, cells: Iterable[int]) -> Pending:
        """Announce a write: until `finish`, or for `LIFE` seconds, nothing that depends on it is stored."""
        held = self.cells
        pending = Pending(tuple(cells), held[_MAPPING])

        def write(now: int) -> None:
            before, pending.mark = pending.mark, mark(now)
            for cell in pending.cells:
                if held[cell] != before and self._over.open(held[cell], now):
                    pending.covers.setdefault(cell, set()).add(held[cell])
                held[cell] = pending.mark
            if before:  # the second time; somebody may have hidden the first mark
                self._over.note(before, {pending.mark})

        self._write(write)
        return pending

    def finish(self, pending: Pending) -> None:
        """Make invalid what was stored before the announced write was over; it is now, or will never be.

        Whatever a cell holds is replaced, be it its own mark or a fresh stamp that somebody put in its place
        before the write, but for another write that is open: that one stands, and its writer comes after us.
        Where our mark hid one that is still open it is shown again, lest its writer die unnoticed.
        """
        held = self.cells

        def write(now: int) -> None:
            stamp, left = fresh(now), set[int]()
            moved = () if held[_MAPPING] == pending.mapping else (GENERATION,)
            for cell in (*pending.cells, *moved):
                hidden = self._hidden(pending, cell, now)
                if self._over.open(held[cell], now) not in {0, pending.mark}:
                    left |= hidden
                else:
                    held[cell] = max(hidden, default=stamp)
            self._over.note(pending.mark, left)

        self._write(write)

    def _hidden(self, pending: Pending, cell: int, now: int) -> set[int]:
        """Return the open writes that *pending* hides."""
        found = {self._over.open(each, now) for each in pending.covers.get(cell, ())}
        return found - {0, pending.mark}

    def _write(self, write: Callable[[int], None]) -> None:
        """Call *write* with the time; it changes cells. Again, if somebody else began to meanwhile.

        `PURGES` is written first, as a claim, and last. Last: a reader takes `PURGES` before it compares
        stamps, and trusts the comparison while `PURGES` stays the same; in the other order it could take the
        new `PURGES`, still see an old stamp, and trust that for good. It gets a random value, not a count:
        two processes that add to a count at once can set it back to a number that somebody trusts.

        First: there is no compare-and-set, so whoever was stopped between its clock and its cell puts an old
        stamp over a younger one, and a thing whose making began between the two passes for younger than all
        purges. But of two that overlap one finds, when it has written, the other's claim in place of its own
        (the processor has carried out a store long before the interpreter looks again), and writes anew
        before it returns: such a thing is gone before the later of the two purges has returned.
        """
        cells = self.cells
        while True:
            claim = cells[PURGES] = randbits(64)
            now = self.now()
            write(now)
            if cells[PURGES] == claim:
                break
        cells[_NEWEST] = fresh(now)
        cells[PURGES] = randbits(64)


def cell_of(digest: bytes) -> int:
    """Return the index of the cell that holds the stamp of the tag with this *digest*."""
    return _HEADER + int.from_bytes(digest[:8], "little") % SLOTS
