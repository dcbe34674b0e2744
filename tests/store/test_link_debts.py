"""What other hosts could not be told is owed, stays pending here, and is paid by somebody."""

from __future__ import annotations

from sipup_middleware.store.debts import Debts, cells_of
from sipup_middleware.store.messages import EVERYTHING
from sipup_middleware.store.pending import LIFE
from sipup_middleware.store.stamps import GENERATION, Stamps
from sipup_middleware.store.tags import TagSet
from tests.store.doubles import Clock


def owing(stamps: Stamps, *tags: str) -> Debts:
    debts = Debts(stamps)
    for tag in tags:
        debts.add([stamps.digest(tag)], stamps.pend(stamps.cells_of([tag])))
    return debts


def storable(stamps: Stamps, tag: str) -> bool:
    return TagSet(stamps, tag).seal() is not None


def test_what_is_owed_stays_pending_until_it_is_told_and_is_storable_then() -> None:
    stamps = Stamps(clock=(clock := Clock()))
    debts = owing(stamps, "a", "b")

    for _ in range(10):
        clock.now += LIFE / 3
        assert not storable(stamps, "a")
        debts.renew()
    assert storable(stamps, "c")
    debts.settle([stamps.digest("a")])
    assert not storable(stamps, "b")
    debts.settle([stamps.digest("b")])
    clock.now += 0.001

    assert not debts.digests
    assert storable(stamps, "a")
    assert storable(stamps, "b")


def test_what_is_added_late_in_its_life_is_pending_for_a_whole_one() -> None:
    stamps = Stamps(clock=(clock := Clock()))
    pending = stamps.pend(stamps.cells_of(["a"]))
    clock.now += LIFE - 1

    Debts(stamps).add([stamps.digest("a")], pending)

    clock.now += 2
    assert not storable(stamps, "a")


def test_too_many_debts_become_one_of_everything() -> None:
    stamps = Stamps(clock=(clock := Clock()))
    debts = Debts(stamps)
    digests = [b"%016d" % number for number in range(10_001)]

    debts.add(digests[:10_000], stamps.pend(cells_of(digests[:10_000])))
    assert len(debts.digests) == 10_000
    debts.add(digests[10_000:], stamps.pend(cells_of(digests[10_000:])))

    assert [*debts.digests] == [EVERYTHING]
    assert not storable(stamps, "whatever")
    debts.settle([EVERYTHING])
    clock.now += 0.001
    assert storable(stamps, "whatever")


def test_the_debts_of_who_died_are_everything_for_somebody_else_of_the_host() -> None:
    stamps = Stamps(clock=(clock := Clock()))
    owing(stamps, "a")
    heir = Debts(stamps)

    heir.inherit()
    assert not heir.digests, "whoever is in debt lives yet"
    clock.now += LIFE + 1
    heir.inherit()

    assert [*heir.digests] == [EVERYTHING]
    assert cells_of(heir.digests) == [GENERATION]
    heir.settle([EVERYTHING])
    other = Debts(stamps)
    other.inherit()
    assert not other.digests


def test_who_has_paid_leaves_the_mark_of_another_debtor() -> None:
    stamps = Stamps(clock=(clock := Clock()))
    first = owing(stamps, "a")
    owing(stamps, "b")

    first.settle([stamps.digest("a")])
    clock.now += LIFE + 1
    heir = Debts(stamps)
    heir.inherit()

    assert heir.digests
