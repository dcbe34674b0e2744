"""Actors that take turns at each look at a cell and each change of one, as a schedule has it.

Each runs in a thread of its own, so that the code under test is the real one; only one runs at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Semaphore, Thread, current_thread
from typing import Any

from sipup_middleware.store.pending import LIFE, Pending, is_live
from sipup_middleware.store.stamps import Stamps
from sipup_middleware.store.tags import Seal, TagSet
from tests.store.doubles import Clock


class Killed(BaseException):
    """What ends an actor in the midst of its work."""


class Actor:
    """A thread that stops before each step until it is its turn."""

    def __init__(self, play: Callable[[Actor], None]) -> None:
        self.over = False
        self._killed = False
        self._play = play
        self._turn, self._stopped = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def step(self) -> None:
        """Go on until before the next step."""
        if not self.over:
            self._turn.release()
            self._stopped.acquire()

    def end(self) -> None:
        """Go no further."""
        self._killed = True
        self.step()
        self._thread.join()

    def pause(self) -> None:
        """Called by the actor itself: let the others go on."""
        self._stopped.release()
        self._turn.acquire()
        if self._killed:
            raise Killed

    def owns(self) -> bool:
        return current_thread() is self._thread

    def _run(self) -> None:
        try:
            self.pause()
            self._play(self)
        except Killed:
            pass
        finally:
            self.over = True
            self._stopped.release()


class Cells:
    """Cells that let others go on before each access by an actor."""

    def __init__(self, cells: Any, actors: list[Actor]) -> None:
        self._cells = cells
        self._actors = actors

    def __getitem__(self, at: int) -> int:
        self._pause()
        return int(self._cells[at])

    def __setitem__(self, at: int, value: int) -> None:
        self._pause()
        self._cells[at] = value

    def _pause(self) -> None:
        for actor in self._actors:
            if actor.owns():
                actor.pause()


class World:
    """One row in a database, what was made from it, and who writes and reads it at once."""

    def __init__(self, stamps: type[Stamps] = Stamps, tags: type[TagSet] = TagSet) -> None:
        self.clock = Clock(1000.0)
        self.stamps = stamps(clock=self.clock)
        self.actors = list[Actor]()
        self.committed = self.returned = self.writing = 0
        self.stored = list[tuple[int, Seal]]()
        self._tags = tags
        self._cell = self.stamps.cell("row")
        self._plain = self.stamps.cells
        cells: Any = Cells(self._plain, self.actors)
        self.stamps.cells = cells
        self.stamps._over._cells = cells

    def play(self, *plays: Callable[[Actor], None], schedule: Iterable[int], later: float = LIFE + 1) -> str:
        """Let the actors go on by *schedule*, each number one's turn; say what was wrong, if anything.

        What is stored when all is over is looked at so many seconds *later*.
        """
        for each in plays:
            self.actors.append(Actor(each))
        try:
            return self._follow(schedule, later)
        finally:
            for actor in self.actors:
                actor.end()
            self.stamps.cells = self._plain

    def _follow(self, schedule: Iterable[int], later: float) -> str:
        for number in schedule:
            self._advance(number)
            if not self.writing and (wrong := self._stale(self.returned)):
                return wrong
        for number, actor in enumerate(self.actors):
            while not actor.over:
                self._advance(number)
        self.clock.now += later
        return self._stale(self.committed)

    def _advance(self, number: int) -> None:
        self.clock.now += 2e-6
        if number == len(self.actors):
            self.clock.now += LIFE + 1
        elif number < len(self.actors):
            self.actors[number].step()

    def _stale(self, least: int) -> str:
        """Name a value from before *least* that a reader would get now."""
        cells, self.stamps.cells = self.stamps.cells, self._plain
        try:
            stale = [value for value, seal in self.stored if value < least and seal.holds(self.stamps)]
        finally:
            self.stamps.cells = cells
        self.stamps._over._cells = cells
        return f"{stale} where {least} was written" if stale else ""

    # What the actors do:

    def reader(self, actor: Actor) -> None:
        """Make a thing from the row, and store it."""
        for late in (False, True):
            tags = self._tags(self.stamps, *([] if late else ["row"]))
            actor.pause()
            value = self.committed
            actor.pause()
            tags.add("row")
            if (seal := tags.seal()) is not None:
                self.stored.append((value, seal))

    def writer(self, actor: Actor) -> None:
        """Write in a transaction."""
        pending = self._announced()
        actor.pause()
        self._commit()
        version = self.committed
        actor.pause()
        self._over(lambda: self.stamps.finish(pending), version)

    def failing(self, actor: Actor) -> None:
        """Roll back."""
        pending = self._announced()
        actor.pause()
        self._over(lambda: self.stamps.finish(pending), 0)

    def dying(self, actor: Actor) -> None:
        """Be killed after the commit, which took less than is promised."""
        pending = self._announced()
        actor.pause()
        if is_live(pending.mark, self.stamps.now()):
            self._commit()

    def purger(self, actor: Actor) -> None:
        """Write, and purge by hand."""
        self._commit()
        version = self.committed
        actor.pause()
        self._over(lambda: self.stamps.purge([self._cell]), version)

    def _announced(self) -> Pending:
        return self.stamps.pend([self._cell])

    def _commit(self) -> None:
        self.committed += 1

    def _over(self, purge: Callable[[], None], version: int) -> None:
        self.writing += 1
        purge()
        self.writing -= 1
        self.returned = max(self.returned, version)
