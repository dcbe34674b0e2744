"""Stamps: one 64-bit number a tag, in memory that all workers of a host map.

A purge writes a fresh stamp; what was made under another is no longer valid. The cells are aligned 64-bit
words, read and written whole. The first `_HEADER` cells are about the file itself, the others are slots: a
tag's slot is a hash of it, keyed by the file's own secret, so a collision can neither be sought nor cost more
than a miss.

A stamp is 52 bits of microseconds on the host's monotonic clock, 11 random bits, and the lowest bit, which is
reserved for writes that are still pending. Zero is the stamp of a tag that was never purged since the file
was made: what carries it also carries the file's generation, so it says as much as any other.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from secrets import randbits, token_bytes
from time import monotonic

from sipup_middleware.errors import ConfigurationError

__all__ = ("GENERATION", "PURGES", "SLOTS", "Stamps", "time_of")

SLOTS = 1 << 20
"""Tags share a slot when their hashes meet: then the purge of one purges the other too."""

PURGES = 1
"""The cell that every purge changes, last of all."""

GENERATION = 2
"""The cell whose stamp everything carries."""

_NEWEST = 3
"""The cell of the youngest stamp; one from the future is of before the host last started."""

_SECRET = slice(4 * 8, 6 * 8)
_HEADER = 64
_SIZE = 8 * (_HEADER + SLOTS)
_RANDOM = 11
_KNOWN = 1 << 16
_LONG = 256
_NAME = "stamps.1"


class Stamps:
    """The stamps of one host, or with no *directory* of this process alone."""

    def __init__(self, directory: str | None = None, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._slots: dict[str, int] = {}
        memory = mmap.mmap(-1, _SIZE) if directory is None else None
        if memory is None:
            memory = _map_file(Path(directory or ""), self._begin)
        else:
            self._begin(memory)
        self.secret = bytes(memory[_SECRET])
        self.cells = memoryview(memory).cast("Q")
        """Read them; only `purge` writes."""

    def _begin(self, memory: mmap.mmap) -> None:
        """Make memory ready that is new, or whose stamps are of before the host's clock began anew."""
        cells = memoryview(memory).cast("Q")
        if not cells[GENERATION]:
            memory[_SECRET] = token_bytes(16)
        elif time_of(cells[_NEWEST]) > self.now():
            memory[8 * _HEADER :] = bytes(8 * SLOTS)
        else:
            return
        cells[_NEWEST] = stamp = self._fresh()
        cells[PURGES] = randbits(64)
        cells[GENERATION] = stamp  # last: until it is there the file is not begun

    def now(self) -> int:
        """Return the time as stamps tell it: microseconds that never go back while the host is up."""
        return int(self._clock() * 1_000_000)

    def cell(self, tag: str) -> int:
        """Return the index of the cell that holds the stamp of *tag*."""
        cell = self._slots.get(tag)
        if cell is None:
            digest = blake2b(tag.encode("utf-8", "surrogatepass"), digest_size=8, key=self.secret).digest()
            cell = _HEADER + int.from_bytes(digest, "little") % SLOTS
            if len(tag) <= _LONG:
                if len(self._slots) >= _KNOWN:
                    self._slots.clear()
                self._slots[tag] = cell
        return cell

    def purge(self, cells: Iterable[int]) -> None:
        """Make invalid what carries the present stamp of any of *cells*.

        The stamps come first and `PURGES` last. A reader takes `PURGES` before it compares stamps, and trusts
        the comparison while `PURGES` stays the same: in the other order it could take the new `PURGES`, still
        see an old stamp, and trust that for good. `PURGES` gets a random value, not a count: two processes
        that add to a count at once can set it back to a number that somebody trusts.
        """
        stamp = self._fresh()
        for cell in cells:
            self.cells[cell] = stamp
        self.cells[_NEWEST] = stamp
        self.cells[PURGES] = randbits(64)

    def _fresh(self) -> int:
        return (self.now() << _RANDOM | randbits(_RANDOM) or 1) << 1


def time_of(stamp: int) -> int:
    """Return when *stamp* was made, as `Stamps.now` tells it; 0 for a tag never purged."""
    return stamp >> (_RANDOM + 1)


def _map_file(directory: Path, begin: Callable[[mmap.mmap], None]) -> mmap.mmap:
    """Map the stamps in *directory*; the lock makes one process begin the file and the others wait for it."""
    import fcntl  # noqa: PLC0415 (not on Windows, where only memory of one process is offered)

    try:
        file = _open(directory)
    except OSError as error:
        raise ConfigurationError(f"Store.runtime_dir cannot be used: {error.strerror}") from error
    try:
        if os.fstat(file).st_uid != os.geteuid():
            raise ConfigurationError("Store.runtime_dir holds stamps of another user")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_size < _SIZE:
            os.posix_fallocate(file, 0, _SIZE)  # on a full disk, to write into a hole ends the process
        memory = mmap.mmap(file, _SIZE)
        begin(memory)
        return memory
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)  # the map holds the file, and with it the lock, beyond `close`
        os.close(file)


def _open(directory: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(directory / _NAME, flags, 0o600)
    except FileNotFoundError:
        directory.mkdir(mode=0o700, exist_ok=True)
        return os.open(directory / _NAME, flags, 0o600)
