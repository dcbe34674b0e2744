"""What memory costs: bounded, freed without timers, and quick for what is plain."""

from __future__ import annotations

import pytest

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.ratelimit import memory
from sipup_middleware.ratelimit.backoff import Backoff
from sipup_middleware.ratelimit.counters import Sliding
from sipup_middleware.ratelimit.memory import MemoryLimiter, anchored
from sipup_middleware.ratelimit.policy import Strategy
from tests.ratelimit.doubles import Clock, rule

STRATEGIES: list[Strategy] = ["sliding", "fixed", "gcra", "moving"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_memory_is_freed_after_two_windows(strategy: Strategy) -> None:
    only, clock = rule((5, 60), strategy=strategy), Clock()
    limiter = MemoryLimiter([only], clock=clock)
    for number in range(1000):
        limiter.decide([(only, str(number))])
    assert limiter.keys == 1000

    clock.now += 120
    limiter.decide([(only, "late")])

    assert limiter.keys == 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_flood_of_clients_does_not_grow_without_bound(strategy: Strategy) -> None:
    only = rule((5, 60), strategy=strategy)
    limiter = MemoryLimiter([only], clock=Clock(), max_keys=100)

    decisions = [limiter.decide([(only, str(number))]) for number in range(10_000)]

    assert all(decision.allowed for decision in decisions)
    assert limiter.keys <= 200


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_client_in_a_flood_is_still_counted(strategy: Strategy) -> None:
    only = rule((5, 60), strategy=strategy)
    limiter = MemoryLimiter([only], clock=Clock(), max_keys=100)

    answers = [
        (limiter.decide([(only, str(number))]), limiter.decide([(only, "greedy")])) for number in range(50)
    ]

    assert [greedy.allowed for _, greedy in answers].count(True) == 5


def test_long_names_are_kept_short() -> None:
    only = rule((5, 60))
    limiter = MemoryLimiter([only], clock=Clock())

    limiter.decide([(only, "x" * 10_000)])

    window = limiter._counters["ip:60"]
    assert isinstance(window, Sliding)
    assert max(map(len, window.current)) == 16


def test_the_clock_ignores_the_wall_clock_once_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = anchored()
    before = clock()

    monkeypatch.setattr(memory, "time", lambda: 0.0)

    assert 0 <= clock() - before < 60


def test_200000_clients_are_held_in_bounds_and_freed() -> None:
    only, clock = rule((5, 60)), Clock()
    limiter = MemoryLimiter([only], clock=clock, max_keys=50_000)

    for number in range(200_000):
        limiter.decide([(only, str(number))])
    held = limiter.keys
    clock.now += 120
    limiter.decide([(only, "late")])

    assert held <= 2 * 50_000
    assert limiter.keys == 1


def test_everything_can_be_forgotten() -> None:
    only = rule((5, 60), who="ip")
    limiter = MemoryLimiter([only], clock=Clock(), backoff=Backoff())
    limiter.decide([(only, "a")])
    limiter.ban("ip", "b", 60)

    limiter.clear()

    assert (limiter.keys, limiter.banned_for("ip", "b")) == (0, 0)
    assert limiter.decide([(only, "a")]).remaining == 4


def test_the_banned_are_bounded_too() -> None:
    only = rule((1, 3600), who="ip")
    limiter = MemoryLimiter([only], clock=Clock(), max_keys=100, backoff=Backoff(after=0))

    for number in range(1000):
        limiter.strike("ip", str(number))

    assert limiter._bans is not None
    assert len(limiter._bans) <= 200
    assert limiter.banned_for("ip", "999") > 0


def test_a_request_that_meets_two_rules_of_one_counter_counts_there_once() -> None:
    rules = [rule((5, 60), index=0, name="a", shared="both"), rule((9, 60), index=1, name="b", shared="both")]
    dark = rule((9, 60), index=2, name="c", shared="both", shadow=True)
    limiter = MemoryLimiter(rules, clock=Clock())

    first = limiter.decide([(each, "x") for each in rules])
    second = limiter.decide([(each, "x") for each in [*rules, dark]])

    assert (first.rule, first.remaining, second.remaining) == ("a", 4, 3)
    assert limiter.peek([(rules[0], "x")])[0].remaining == 3


def test_a_rule_of_a_rate_that_was_not_foreseen_has_a_counter_of_its_own() -> None:
    known, unforeseen = rule((5, 60)), rule((7, 3600))
    limiter = MemoryLimiter([known], clock=Clock())

    answers = [limiter.decide([(each, "a")]).remaining for each in (known, unforeseen, known, unforeseen)]

    assert answers == [4, 6, 3, 5]


def test_a_ban_that_nobody_would_look_up_is_refused() -> None:
    limiter = MemoryLimiter([rule((5, 60))], clock=Clock())

    with pytest.raises(ConfigurationError, match=r"RateLimit\.backoff"):
        limiter.ban("ip", "a", 60)

    limiter.unban("ip", "a")
    assert (limiter.strike("ip", "a"), limiter.banned_for("ip", "a")) == (0, 0)
