from __future__ import annotations

import pytest

from sipup_middleware.ratelimit import memory
from sipup_middleware.ratelimit.memory import MemoryLimiter, anchored
from tests.ratelimit.doubles import Clock, rule


def test_memory_is_freed_after_two_windows() -> None:
    only, clock = rule((5, 60)), Clock()
    limiter = MemoryLimiter([only], clock=clock)
    for number in range(1000):
        limiter.decide([(only, str(number))])
    assert limiter.keys == 1000

    clock.now += 120
    limiter.decide([(only, "late")])

    assert limiter.keys == 1


def test_a_flood_of_clients_does_not_grow_without_bound() -> None:
    only = rule((5, 60))
    limiter = MemoryLimiter([only], clock=Clock(), max_keys=100)

    decisions = [limiter.decide([(only, str(number))]) for number in range(10_000)]

    assert all(decision.allowed for decision in decisions)
    assert limiter.keys <= 200


def test_a_client_in_a_flood_is_still_counted() -> None:
    only = rule((5, 60))
    limiter = MemoryLimiter([only], clock=Clock(), max_keys=100)

    answers = [
        (limiter.decide([(only, str(number))]), limiter.decide([(only, "greedy")])) for number in range(50)
    ]

    assert [greedy.allowed for _, greedy in answers].count(True) == 5


def test_long_names_are_kept_short() -> None:
    only = rule((5, 60))
    limiter = MemoryLimiter([only], clock=Clock())

    limiter.decide([(only, "x" * 10_000)])

    assert max(map(len, limiter._windows[0].current)) == 16


def test_the_clock_ignores_the_wall_clock_once_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = anchored()
    before = clock()

    monkeypatch.setattr(memory, "time", lambda: 0.0)

    assert 0 <= clock() - before < 60
