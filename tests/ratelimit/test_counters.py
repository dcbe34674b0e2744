"""Each strategy against a model of it that remembers every request, and how counters forget."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.ratelimit.counters import Generations, Sliding, counter_for
from sipup_middleware.ratelimit.policy import Rule, Strategy
from tests.ratelimit.doubles import rule

Taken = list[tuple[int, int]]
"""When how many units were taken."""

Model = Callable[[Rule, Taken, int], Fraction]
"""The units left at a moment."""

START = 1_700_000_040_000


def sliding(rule: Rule, taken: Taken, now: int) -> Fraction:
    window = now // rule.period
    current = sum(units for at, units in taken if at // rule.period == window)
    previous = sum(units for at, units in taken if at // rule.period == window - 1)
    weight = Fraction((window + 1) * rule.period - now, rule.period)
    return Fraction(rule.amount - current - int(previous * weight))


def fixed(rule: Rule, taken: Taken, now: int) -> Fraction:
    return Fraction(
        rule.amount - sum(units for at, units in taken if at // rule.period == now // rule.period)
    )


def gcra(rule: Rule, taken: Taken, now: int) -> Fraction:
    unit = Fraction(rule.period, rule.amount)
    arrival = Fraction(0)
    for at, units in taken:
        arrival = max(arrival, Fraction(at)) + units * unit
    return rule.most - max(Fraction(0), arrival - now) / unit


def moving(rule: Rule, taken: Taken, now: int) -> Fraction:
    return Fraction(rule.amount - sum(units for at, units in taken if now - at < rule.period))


MODELS: dict[Strategy, Model] = {"sliding": sliding, "fixed": fixed, "gcra": gcra, "moving": moving}

STEPS = st.lists(st.sampled_from([0, 1, 137, 999, 1000, 1001, 3333, 9999, 10_000, 25_000]), max_size=60)


@pytest.mark.parametrize("strategy", MODELS)
@given(steps=STEPS, amount=st.integers(1, 12), burst=st.integers(0, 15), cost=st.sampled_from([1, 2, 7]))
def test_it_serves_as_its_model_does_and_whoever_waits_as_told(
    strategy: Strategy, steps: list[int], amount: int, burst: int, cost: int
) -> None:
    only = rule((amount, 10), cost=cost, strategy=strategy, burst=burst)
    counter, model, taken = counter_for(only, 1000), MODELS[strategy], Taken()

    for now in accumulate(steps, initial=START):
        left, wait = counter.look(only, "a", now)
        exact = model(only, taken, now)
        assert left == exact.__floor__()
        assert (wait == 0) == (exact >= only.cost)
        if wait:
            assert model(only, taken, now + wait) >= only.cost, "not served after the wait"
            assert model(only, taken, now + wait - 1) < only.cost, "served before"
            continue
        counter.take(only, "a", now)
        taken.append((now, only.cost))


@pytest.mark.parametrize("strategy", MODELS)
@given(counts=st.integers(1, 60), step=st.sampled_from([0, 1, 500]), cost=st.sampled_from([1, 7]))
def test_what_is_counted_past_the_amount_is_waited_for(
    strategy: Strategy, counts: int, step: int, cost: int
) -> None:
    only = rule((10, 10), cost=cost, strategy=strategy)
    counter = counter_for(only, 1000)
    for number in range(counts):
        counter.take(only, "a", START + number * step)
    now = START + counts * step

    _, wait = counter.look(only, "a", now)

    assert wait <= 20_000
    assert counter.look(only, "a", now + wait)[1] == 0


@pytest.mark.parametrize("strategy", MODELS)
def test_when_all_is_back_nothing_weighs_any_more(strategy: Strategy) -> None:
    only = rule((5, 60), strategy=strategy)
    counter = counter_for(only, 1000)
    for _ in range(3):
        counter.take(only, "a", START + 1234)

    resets = counter.resets(only, "a", START + 1234)

    expected = {"sliding": 58_766, "fixed": 58_766, "gcra": 36_000, "moving": 60_000}
    assert resets == expected[strategy]
    assert counter.look(only, "a", START + 1234 + resets)[0] >= (2 if strategy == "sliding" else 5)


@pytest.mark.parametrize("strategy", MODELS)
@given(jump=st.integers(1, 3_600_000))
def test_a_clock_set_back_keeps_what_was_counted_and_locks_out_for_no_longer(
    strategy: Strategy, jump: int
) -> None:
    only = rule((5, 60), strategy=strategy)
    counter = counter_for(only, 1000)
    for _ in range(5):
        counter.take(only, "a", START + 30_000)
    before = counter.look(only, "a", START + 30_000)[1]
    back = START + 30_000 - jump

    left, wait = counter.look(only, "a", back)

    assert left == 0
    assert 0 < wait <= max(before, 2 * only.period)
    assert counter.look(only, "a", back + wait)[1] == 0


@pytest.mark.parametrize("strategy", MODELS)
def test_a_client_can_be_forgotten_and_everybody(strategy: Strategy) -> None:
    only = rule((5, 60), strategy=strategy)
    counter = counter_for(only, 1000)
    for name in "abc":
        counter.take(only, name, START)

    counter.forget("a")
    counter.forget("never seen")
    left = [counter.look(only, name, START)[0] for name in "ab"]
    counter.clear()

    assert left == [5, 4]
    assert (len(counter), counter.look(only, "b", START)[0]) == (0, 5)


def test_a_lower_amount_of_the_same_counter_waits_until_it_is_met() -> None:
    high, low = rule((100, 60)), rule((5, 60))
    counter = counter_for(high, 1000)
    for _ in range(50):
        counter.take(high, "a", START)

    left, wait = counter.look(low, "a", START)

    assert left == -45
    assert counter.look(low, "a", START + wait)[1] == 0


def test_values_live_for_one_life_at_least_and_two_at_most() -> None:
    held = Generations[int](1000, 10)

    held.set("early", 1, START)
    held.set("late", 2, START + 999)

    assert held.get("late", START + 1999) == 2
    assert held.get("early", START + 2000) is None
    assert len(held) == 0


def test_the_stalest_make_room() -> None:
    held = Generations[int](1000, 10)
    for number in range(10):
        held.set(number, number, START)

    held.set("one more", 1, START)
    held.set(3, 33, START)
    for number in range(20, 28):
        held.set(number, number, START)
    full = len(held)
    held.set("another", 1, START)

    assert full == 19
    assert [held.get(number, START) for number in (0, 3, 27)] == [None, 33, 27]


def test_a_log_does_not_grow_past_the_amount() -> None:
    only = rule((20, 10), strategy="moving")
    counter = counter_for(only, 1000)

    for now in range(START, START + 100_000, 100):
        if not counter.look(only, "a", now)[1]:
            counter.take(only, "a", now)

    log = counter._kept.get("a", START + 99_900)  # type: ignore[union-attr]  # (a moving one keeps logs)
    assert len(log.times) <= 20  # type: ignore[union-attr]  # (as above)


def test_windows_are_aligned() -> None:
    counter = Sliding(60_000, 10)

    starts = []
    for now in (START - 1, START, START + 59_999, START + 60_000):
        counter.turn(now)
        starts.append(counter.begins)

    assert [later - earlier for earlier, later in pairwise(starts)] == [60_000, 0, 60_000]
