from __future__ import annotations

from sipup_middleware.ratelimit.breaker import Breaker
from tests.ratelimit.doubles import Clock


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock=clock)
    assert [breaker.failed() for _ in range(5)] == [False, False, False, False, True]
    return breaker


def test_it_opens_after_five_failures_in_a_row() -> None:
    breaker = Breaker(clock=Clock())

    for _ in range(10):
        for _ in range(4):
            assert not breaker.failed()
        assert not breaker.succeeded()

    assert not breaker.is_open
    assert breaker.allows()


def test_open_it_lets_one_caller_probe_after_a_pause() -> None:
    clock = Clock()
    breaker = opened(clock)

    assert not breaker.allows()
    clock.now += 0.5
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_the_pause_doubles_up_to_its_longest() -> None:
    clock = Clock()
    breaker = opened(clock)
    pauses = []

    for _ in range(9):
        began = clock.now
        while not breaker.allows():
            clock.now += 0.25
        assert not breaker.failed()
        pauses.append(clock.now - began)

    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_an_answer_closes_it_and_is_told_once() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 0.5
    assert breaker.allows()

    assert [breaker.succeeded(), breaker.succeeded()] == [True, False]
    assert not breaker.is_open


def test_a_probe_that_was_cancelled_leaves_the_next_one_to_another() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 0.5
    assert breaker.allows()

    breaker.abandoned()

    assert breaker.allows()


def test_a_late_failure_changes_nothing() -> None:
    clock = Clock()
    breaker = opened(clock)

    assert not breaker.failed()
    clock.now += 0.5

    assert breaker.allows()
