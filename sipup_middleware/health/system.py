"""What this process takes of its machine; None where the machine does not tell."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import process_time

__all__ = ("CPU", "fds", "rss_bytes")

_PROC = Path("/proc/self")


class CPU:
    """How busy the process was since it was last asked; 100 = one core."""

    __slots__ = ("_asked", "_clock", "_percent", "_process_time", "_used")

    def __init__(
        self, clock: Callable[[], float], *, process_time: Callable[[], float] = process_time
    ) -> None:
        self._clock = clock
        self._process_time = process_time
        self._asked = clock()
        self._used = process_time()
        self._percent = 0.0

    def percent(self) -> float:
        """Return the present figure; one younger than a second is given again."""
        now = self._clock()
        if (elapsed := now - self._asked) >= 1:
            used = self._process_time()
            self._percent = 100 * (used - self._used) / elapsed
            self._asked, self._used = now, used
        return self._percent


def rss_bytes() -> int | None:
    """Return the resident memory. Reads a file: not on the event loop."""
    try:
        pages = (_PROC / "statm").read_text().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def fds() -> int | None:
    """Return how many file descriptors are open. Reads a directory: not on the event loop."""
    try:
        return sum(1 for _ in (_PROC / "fd").iterdir()) - 1  # the listing's own
    except OSError:
        return None
