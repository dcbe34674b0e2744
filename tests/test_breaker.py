from __future__ import annotations

from sipup_middleware.breaker import Breaker
from tests.store.doubles import Clock


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock=clock)
    assert [breaker.fail() for _ in range(5)] == [False] * 4 + [True]
    return breaker


def test_five_errors_in_a_row_open_it() -> None:
    breaker = opened(Clock())

    assert breaker.is_open
    assert not breaker.admits()


def test_an_answer_in_between_starts_the_count_anew() -> None:
    breaker = Breaker(clock=Clock())

    told = [breaker.fail() for _ in range(4)] + [breaker.succeed()] + [breaker.fail() for _ in range(4)]

    assert not any(told)
    assert breaker.admits()


def test_one_caller_a_pause_is_the_probe() -> None:
    clock = Clock()
    breaker = opened(clock)

    clock.now += 0.5

    assert [breaker.admits() for _ in range(3)] == [True, False, False]


def test_pauses_double_up_to_ten_seconds() -> None:
    clock = Clock()
    breaker = opened(clock)
    pauses = list[float]()

    for _ in range(7):
        began = clock.now
        while not breaker.admits():
            clock.now += 0.25
        breaker.fail()
        pauses.append(clock.now - began)

    assert pauses == [0.5, 1, 2, 4, 8, 10, 10]


def test_a_probe_that_is_never_heard_of_again_does_not_keep_it_open() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 0.5
    assert breaker.admits()

    clock.now += 1

    assert breaker.admits()


def test_the_first_answer_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 0.5
    breaker.admits()

    assert breaker.succeed()
    assert not breaker.succeed(), "told once"
    assert breaker.admits()
