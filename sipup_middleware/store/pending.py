"""What the 64 bits of a stamp say.

52 bits of microseconds on the host's monotonic clock, 11 random bits, and the lowest bit. Where that is 0 the
stamp is fresh, and the time is when it was made. Where it is 1 a write is pending, and the time is when its
writer is given up, ten seconds after the announcement. So a reader need not tell the two apart: a thing whose
making began before the time of a stamp is not stored, be it that a purge came during the making, or that a
write may come at any moment. And a pending stamp whose time is over is a fresh one that was made just then.
"""

from __future__ import annotations

from secrets import randbits

__all__ = ("LIFE", "Pending", "fresh", "is_live", "mark", "time_of")

LIFE = 10.0
"""Seconds: a writer that died after its announcement costs so much of misses."""

_RANDOM = 11


class Pending:
    """A write that was announced: it may happen, or may just have happened."""

    __slots__ = ("cells", "covers", "mapping", "mark")

    def __init__(self, cells: tuple[int, ...], mapping: int = 0) -> None:
        self.cells = cells
        self.mapping = mapping
        """By which secret tags were given these cells."""
        self.mark = 0
        """The stamp that the cells hold meanwhile."""
        self.covers: dict[int, set[int]] = {}
        """Which other announcements it hid, by cell: what is not over when this is, is shown again."""


def fresh(now: int) -> int:
    """Return the stamp of a purge at *now*."""
    return (now << _RANDOM | randbits(_RANDOM) or 1) << 1


def mark(now: int) -> int:
    """Return the stamp of a write that is announced at *now*."""
    return (now + int(LIFE * 1_000_000) << _RANDOM | randbits(_RANDOM)) << 1 | 1


def is_live(stamp: int, now: int) -> bool:
    """Say whether at *now* a write is pending under *stamp*."""
    return bool(stamp & 1) and time_of(stamp) > now


def time_of(stamp: int) -> int:
    """Return when *stamp* was made, or its writer is given up; 0 for a tag never purged."""
    return stamp >> (_RANDOM + 1)
