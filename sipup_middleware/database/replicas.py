"""Which reads go to a hot standby, and when: never before it has replayed what the reader wrote.

Our writes are numbered as they are committed. A look at the servers, several a second while there is
something to find out, notes where the primary's log is (``pg_current_wal_insert_lsn``) and how far each
standby has replayed it (``pg_last_wal_replay_lsn``): from then on it is known which writes each has. A read
asks nobody for leave: it compares two numbers.

A standby that is down, silent or too far behind is left out, and the primary is read instead.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from sipup_middleware.bridge import Background, spawn
from sipup_middleware.database.lease import NOTHING, After
from sipup_middleware.database.standby import Mark, Standby, asked

if TYPE_CHECKING:
    from sipup_middleware.database.pool import Pool

__all__ = ("Replicas",)

_POSITION = "SELECT (pg_current_wal_insert_lsn() - '0/0')::int8"
_CALM, _BUSY = 0.5, 0.1
"""Seconds between two looks: while all have everything, and while one has yet to get it."""

_PAGE, _HEADERS = 8192, (24, 40)
"""Bytes of a page of the log, and of its header: the first page of a segment has more to say."""

_MARK = re.compile("[0-9a-f]{1,15}")
_KEPT = 1000
"""Marks kept for a standby that is behind."""


class Replicas:
    """The standbys of one primary, on the home of its pool."""

    def __init__(self, primary: Pool, pools: Sequence[Pool], *, max_lag: float, by_default: bool) -> None:
        self.standbys = [Standby(pool) for pool in pools]
        self.by_default = by_default
        """Plain reads go here unless they say otherwise."""
        self._primary = primary
        self._max_lag = max_lag
        self._written = 0
        for pool in pools:
            pool.tally = primary.tally  # one place to come by
        self._marks: deque[Mark] = deque(maxlen=_KEPT)
        self._watch: Background | None = None

    async def start(self) -> None:
        """Open the pools, look once, and go on looking."""
        await asyncio.gather(*(each.pool.start() for each in self.standbys))
        await self.look()
        self._begin()

    async def aclose(self) -> None:
        """Stop looking and close the pools."""
        if self._watch is not None:
            await self._watch.aclose()
        await asyncio.gather(*(each.pool.aclose() for each in self.standbys))

    def pick(self, after: After) -> Pool | None:
        """Return the least busy standby that has what is to be seen; None = read the primary."""
        self._begin()
        fit = [each for each in self.standbys if each.serves(after)]
        return min(fit, key=_load).pool if fit else None

    def wrote(self) -> After:
        """Give a write that was just committed its number; return what its writer's reads must see."""
        self._written += 1
        return After(self._written, 0)

    async def mark(self) -> str:
        """Return a word for "all that was committed until now", which another process may be told."""
        return f"{await self._position():x}"

    def seeing(self, mark: str, after: After = NOTHING) -> After:
        """Return *after* with what *mark* stands for; as it is, where that is no mark of ours."""
        return after._replace(position=int(mark, 16)) if _MARK.fullmatch(mark) else after

    async def _position(self) -> int:
        return _before_header(await asked(self._primary, _POSITION) or 0)

    async def look(self) -> None:
        """Find out once where everyone is."""
        written = self._written
        with suppress(Exception):  # the primary is away, or busy: standbys are measured by what is known
            self._marks.append(Mark(written, await self._position(), self._primary.clock()))
        now = self._primary.clock()
        looks = (each.look(self._marks, now, self._max_lag) for each in self.standbys)
        for fact in await asyncio.gather(*looks):
            if fact is not None:
                self._primary.tally.tell(fact)
        self._forget()

    def _forget(self) -> None:
        """Drop the marks that everyone is past."""
        oldest = min(each.position for each in self.standbys)
        while len(self._marks) > 1 and self._marks[1].position <= oldest:
            self._marks.popleft()

    def _begin(self) -> None:
        if self._watch is None and not self._primary.closed:
            self._watch = spawn(self._primary.home, self._look_on, name="sipup-database-replicas")

    async def _look_on(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_CALM if self._all_have_all else _BUSY)

    @property
    def _all_have_all(self) -> bool:
        return all(each.seen >= self._written for each in self.standbys)


def _before_header(position: int) -> int:
    """Return *position* as a standby gives it that has replayed all before it.

    On a page that holds nothing yet, the primary is past the page's header already, and a standby before it:
    for as long as nobody writes, it would seem to be behind.
    """
    return position - position % _PAGE if position % _PAGE in _HEADERS else position


def _load(standby: Standby) -> int:
    return standby.load
