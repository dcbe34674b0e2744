from __future__ import annotations

import pytest

from sipup_middleware.ratelimit.denied import DenyCache
from sipup_middleware.ratelimit.policy import Decision
from tests.ratelimit.doubles import Clock


def refusal(reset: int) -> Decision:
    return Decision(allowed=False, rule="ip", remaining=0, reset=reset, reset_at=1_700_000_000)


def test_a_refusal_is_repeated_with_what_is_left_of_it() -> None:
    clock = Clock(100.0)
    cache = DenyCache(clock=clock)
    cache.put("alice", refusal(18))

    told = []
    for moment in (100.0, 100.4, 101.0, 103.999, 104.9):
        clock.now = moment
        decision = cache.get("alice")
        told.append(decision and decision.reset)

    assert told == [18, 18, 17, 15, 14]


@pytest.mark.parametrize(("reset", "lasts"), [(1, 1.0), (3, 3.0), (5, 5.0), (3600, 5.0)])
def test_a_refusal_is_believed_for_its_time_and_five_seconds_at_most(reset: int, lasts: float) -> None:
    clock = Clock(100.0)
    cache = DenyCache(clock=clock)
    cache.put("alice", refusal(reset))

    clock.now = 100 + lasts - 0.001
    before = cache.get("alice")
    clock.now = 100 + lasts
    after = cache.get("alice")

    assert before is not None
    assert before.reset >= 1
    assert after is None
    assert len(cache) == 0


def test_nobody_else_is_refused() -> None:
    cache = DenyCache(clock=Clock())

    cache.put("alice", refusal(9))

    assert cache.get("bob") is None


@pytest.mark.parametrize("decision", [refusal(9)._replace(allowed=True), refusal(0)])
def test_what_was_allowed_or_is_over_is_not_remembered(decision: Decision) -> None:
    cache = DenyCache(clock=Clock())

    cache.put("alice", decision)

    assert cache.get("alice") is None


def test_a_newer_refusal_takes_the_place_of_the_older() -> None:
    clock = Clock(100.0)
    cache = DenyCache(clock=clock)
    cache.put("alice", refusal(2))
    clock.now = 101.0

    cache.put("alice", refusal(40))

    assert cache.get("alice") == refusal(40)
    assert len(cache) == 1


def test_a_flood_drops_the_oldest() -> None:
    cache = DenyCache(clock=Clock(), size=100)

    for number in range(10_000):
        cache.put(number, refusal(9))

    assert len(cache) == 100
    assert cache.get(9_900) is not None
    assert cache.get(9_899) is None


def test_a_flood_that_is_over_is_forgotten_without_a_timer() -> None:
    clock = Clock()
    cache = DenyCache(clock=clock)
    for number in range(100):
        cache.put(number, refusal(9))

    clock.now += 5
    for number in range(50):
        cache.put(("other", number), refusal(9))

    assert len(cache) == 50


def test_everything_can_be_forgotten() -> None:
    cache = DenyCache()
    cache.put("alice", refusal(9))

    cache.clear()

    assert cache.get("alice") is None
