"""Which of the announced writes are over: for those whose own announcement hides one."""

from __future__ import annotations

from sipup_middleware.store.pending import is_live

__all__ = ("CELLS", "Over")

_WRITES = 1 << 12
CELLS = 2 * _WRITES
"""How many cells the notes take: a mark each, and which write that one hid."""


class Over:
    """Notes on the last few thousand; one whose note gave way to another's counts as open."""

    __slots__ = ("_cells", "_first")

    def __init__(self, cells: memoryview[int], first: int) -> None:
        self._cells = cells
        self._first = first

    def note(self, mark: int, hid: set[int]) -> None:
        """Note that the write under *mark* is over, and which open one it still hides."""
        if len(hid) > 1:
            return  # as if it were open: it is given up soon
        cells, at = self._cells, self._place(mark)
        cells[at] = 0
        cells[at + 1] = max(hid, default=0)
        cells[at] = mark

    def open(self, mark: int, now: int) -> int:
        """Return the mark of the write that is open under *mark*: its own, or one it hid; 0 = none is."""
        cells, seen = self._cells, set[int]()
        while is_live(mark, now) and mark not in seen:  # two may hide each other: then both are over
            seen.add(mark)
            at = self._place(mark)
            if cells[at] != mark:
                return mark
            hid = cells[at + 1]
            if cells[at] != mark:  # another was noted in its place meanwhile
                return mark
            mark = hid
        return 0

    def _place(self, mark: int) -> int:
        return self._first + 2 * ((mark >> 1) % _WRITES)  # the low bits are random
