"""Writers and readers at once: what was made before a write that has returned is not served.

`World` runs the real code, and lets the others go on between any two accesses to a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.store import pending
from sipup_middleware.store.pending import Pending, fresh, is_live, mark
from sipup_middleware.store.stamps import GENERATION, PURGES, Stamps
from sipup_middleware.store.tags import Seal, TagSet
from tests.store.interleaving import World

PLAYS = ["writer", "failing", "dying", "purger"]


@given(
    st.lists(st.sampled_from(PLAYS), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 12)), max_size=30),
)
def test_no_reader_gets_what_is_older_than_the_last_write_that_returned(
    plays: list[str], turns: list[tuple[int, int]]
) -> None:
    world = World()
    names = [*plays, "reader", "reader"]
    schedule = [number for number, times in turns for _ in range(times)]

    wrong = world.play(*(getattr(world, name) for name in names), schedule=schedule)

    assert not wrong


@given(st.sampled_from(PLAYS[:2]), st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), max_size=30))
def test_when_two_writes_and_a_purge_at_once_are_over_things_are_stored_again(
    other: str, turns: list[tuple[int, int]]
) -> None:
    schedule = [number for number, times in turns for _ in range(times)]
    bits = count()

    with patch.object(pending, "randbits", lambda width: next(bits) % (1 << width)):  # no two notes meet
        world = World()
        plays = world.writer, getattr(world, other), world.purger
        world.play(*plays, schedule=schedule, later=0.001)

    assert TagSet(world.stamps, "row").seal()


class AnnouncesNothing(Stamps):
    def pend(self, cells: Any) -> Pending:
        pending = Pending(tuple(cells))
        pending.mark = mark(self.now())
        return pending


class ForgetsItsOwn(Stamps):
    """Replaces its own mark alone, as a compare-and-set would."""

    def finish(self, pending: Pending) -> None:
        def write(now: int) -> None:
            for cell in pending.cells:
                if self.cells[cell] == pending.mark:
                    self.cells[cell] = fresh(now)

        self._write(write)


class EndsOthers(Stamps):
    def finish(self, pending: Pending) -> None:
        self.purge(pending.cells)

    def purge(self, cells: Any) -> None:
        held = tuple(cells)

        def write(now: int) -> None:
            for cell in held:
                self.cells[cell] = fresh(now)

        self._write(write)


class Yields(Stamps):
    """Announces nothing where another has."""

    def pend(self, cells: Any) -> Pending:
        now, found = self.now(), tuple(cells)
        return super().pend([cell for cell in found if not is_live(self.cells[cell], now)])


class ForgetsTheHidden(Stamps):
    def _hidden(self, pending: Pending, cell: int, now: int) -> set[int]:
        return set()


class WritesOnce(Stamps):
    """Does not look whether another wrote at the same time."""

    def _write(self, write: Callable[[int], None]) -> None:
        write(self.now())
        self.cells[PURGES] = self.now()


class TellsFirst(Stamps):
    def _write(self, write: Callable[[int], None]) -> None:
        self.cells[PURGES] = self.now()
        write(self.now())


class Sooner(TagSet):
    """Stores whatever was purged meanwhile."""

    def seal(self) -> Seal | None:
        cells = (GENERATION, self._stamps.cell("row"))
        purges = self._stamps.cells[PURGES]
        return Seal(cells, tuple(self._stamps.cells[cell] for cell in cells), purges)


@pytest.mark.parametrize(
    ("stamps", "tags", "plays"),
    [
        (AnnouncesNothing, TagSet, "dying reader"),
        (EndsOthers, TagSet, "writer dying reader"),
        (Yields, TagSet, "writer dying reader"),
        (ForgetsTheHidden, TagSet, "failing dying reader"),
        (ForgetsItsOwn, TagSet, "writer purger reader"),
        (WritesOnce, TagSet, "purger purger reader"),
        (TellsFirst, TagSet, "purger reader"),
        (Stamps, Sooner, "writer reader"),
    ],
)
def test_each_rule_is_needed(stamps: type[Stamps], tags: type[TagSet], plays: str) -> None:
    def goes_wrong(number: int, stamps: type[Stamps], tags: type[TagSet]) -> bool:
        random, world = Random(number), World(stamps, tags)  # noqa: S311 (to be had again)
        chosen = [getattr(world, name) for name in plays.split()]
        turns = [random.randrange(len(chosen) + 1) for _ in range(20)]
        schedule = [turn for turn in turns for _ in range(1 if turn == len(chosen) else random.randrange(20))]
        return bool(world.play(*chosen, schedule=schedule))

    found = next((number for number in range(3000) if goes_wrong(number, stamps, tags)), None)

    assert found is not None, "nobody would notice if the rule were dropped"
    assert not goes_wrong(found, Stamps, TagSet)
