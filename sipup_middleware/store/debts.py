"""Purges that other hosts were not told of, because the server did not answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sipup_middleware.store.messages import EVERYTHING
from sipup_middleware.store.pending import Pending, is_live
from sipup_middleware.store.stamps import GENERATION, OWED, Stamps, cell_of

__all__ = ("Debts", "cells_of")

_MOST = 10_000


class Debts:
    """Kept until they are told, or so many that everything is to be purged.

    Meanwhile their tags stay pending on this host, where what the server has under them would be stale. A
    cell tells the host's other processes that one is in debt: where it dies, another pays.
    """

    def __init__(self, stamps: Stamps) -> None:
        self.digests: dict[bytes, None] = {}
        self._stamps = stamps
        self._pending: list[Pending] = []
        self._mark = 0

    def add(self, digests: Sequence[bytes], pending: Pending) -> None:
        """Owe a purge, which is *pending* on this host."""
        self.digests |= dict.fromkeys(digests)
        self._pend(pending.cells, [pending])
        if len(self.digests) > _MOST:
            self.owe_everything()

    def owe_everything(self) -> None:
        """Owe but one purge, in place of those whose digests are too many, or no longer understood."""
        self.digests = {EVERYTHING: None}
        self.renew()

    def renew(self) -> None:
        """Keep them pending: to be called more often than a pending write is given up."""
        before, self._pending = self._pending, []
        self._pend(cells_of(self.digests), before)

    def inherit(self) -> None:
        """Owe everything where another process of this host died in debt: nobody knows what it owed."""
        mark = self._stamps.cells[OWED]
        if mark and mark != self._mark and not is_live(mark, self._stamps.now()):
            self.owe_everything()

    def settle(self, told: Iterable[bytes]) -> None:
        """Forget what was *told*; when nothing is left, this host may store it again."""
        for digest in told:
            self.digests.pop(digest, None)
        if self.digests:
            return
        before, self._pending = self._pending, []
        self._end(before)
        if self._stamps.cells[OWED] == self._mark:
            self._stamps.cells[OWED] = 0

    def _pend(self, cells: Iterable[int], before: list[Pending]) -> None:
        pending = self._stamps.pend(cells)
        self._pending.append(pending)
        self._end(before)
        self._stamps.cells[OWED] = self._mark = pending.mark

    def _end(self, pending: list[Pending]) -> None:
        for each in pending:
            self._stamps.finish(each)


def cells_of(digests: Iterable[bytes]) -> list[int]:
    """Return the cells that hold the stamps of *digests*."""
    return [GENERATION if digest == EVERYTHING else cell_of(digest) for digest in digests]
