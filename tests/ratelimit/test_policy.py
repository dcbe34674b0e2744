"""The arithmetic of sliding windows and of GCRA, by properties."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sipup_middleware.ratelimit.limit import MOST
from sipup_middleware.ratelimit.policy import Rule, Strategy, faded, owed, until_drained, until_paid, wait
from tests.ratelimit.doubles import rule

RULES = st.builds(
    lambda amount, period, share: Rule(
        index=0, name="x", amount=amount, period=period * 1000, cost=max(1, int(amount * share))
    ),
    st.integers(1, 2000) | st.integers(1, MOST),
    st.integers(1, 86400) | st.integers(1, 366 * 86400),
    st.floats(0, 1),
)


def served(rule: Rule, previous: int, current: int, left: int) -> bool:
    return faded(previous, left, rule.period) + current + rule.cost <= rule.amount


def served_after(rule: Rule, previous: int, current: int, left: int, elapsed: int) -> bool:
    """What `served` says *elapsed* ms later, if nobody asks meanwhile."""
    windows, into = divmod(rule.period - left + elapsed, rule.period)
    counts = [(previous, current), (current, 0), (0, 0)][min(windows, 2)]
    return served(rule, *counts, rule.period - into)


@given(RULES, st.data())
def test_a_wait_is_as_long_as_needed_and_no_longer(rule: Rule, data: st.DataObject) -> None:
    counts = st.integers(0, rule.amount) | st.integers(rule.amount - rule.cost + 1, rule.amount)
    previous, current = data.draw(counts), data.draw(counts)
    left = data.draw(st.integers(1, rule.period))
    assume(not served(rule, previous, current, left))

    needed = wait(rule, previous, current, left)

    assert 0 < needed <= 2 * rule.period
    assert served_after(rule, previous, current, left, needed)
    assert not served_after(rule, previous, current, left, needed - 1)


def test_who_is_within_the_limit_need_not_wait() -> None:
    assert wait(rule((5, 60)), 0, 4, 1000) == 0
    assert wait(rule((5, 60)), 5, 0, 40_000) == 0


def test_the_previous_window_weighs_as_much_as_the_period_still_reaches_into_it() -> None:
    assert [faded(100, left, 60_000) for left in (60_000, 59_900, 30_000, 1)] == [100, 99, 50, 0]


def arrival(rule: Rule, debt: int, elapsed: int) -> Fraction:
    """GCRA's theoretical arrival time, from now, as a fraction of milliseconds."""
    return max(Fraction(0), Fraction(debt, rule.amount) - elapsed)


@given(RULES, st.integers(1, 3000), st.data())
def test_gcra_lends_as_its_theoretical_arrival_time_allows(
    sliding: Rule, burst: int, data: st.DataObject
) -> None:
    rule = replace(sliding, strategy="gcra", burst=burst)
    debt = data.draw(st.integers(0, burst * rule.period))
    elapsed = data.draw(st.integers(0, 2 * rule.period))
    unit = Fraction(rule.period, rule.amount)

    left = owed(rule, debt, elapsed)
    needed = until_paid(rule, left)

    ahead = arrival(rule, debt, elapsed) + rule.cost * unit - burst * unit
    assert left == arrival(rule, debt, elapsed) * rule.amount
    assert needed - 1 < max(Fraction(0), ahead) <= needed
    assert until_paid(rule, owed(rule, left, needed)) == 0
    assert owed(rule, left, until_drained(rule, left)) == 0


def test_late_counts_overdraw_gcra_by_no_more_than_a_period() -> None:
    only = rule((10, 60), strategy="gcra", burst=20)

    debt = owed(only, 10**12, 0)

    assert until_paid(only, debt) == 60_000 + 6_000


@pytest.mark.parametrize(
    ("strategy", "counter"),
    [("sliding", "ip:60"), ("fixed", "ip:60:f"), ("gcra", "ip:60:g"), ("moving", "ip:60:m")],
)
def test_a_counter_is_told_by_name_period_and_strategy(strategy: Strategy, counter: str) -> None:
    assert rule((5, 60), strategy=strategy).counter == counter
    assert rule((9, 60), strategy=strategy, index=7, name="x", shared="ip").counter == counter


def test_a_request_takes_no_more_than_there_ever_is() -> None:
    assert rule((5, 60), cost=7).cost == 5
    assert rule((5, 60), cost=7, strategy="gcra", burst=6).cost == 6
    assert rule((5, 60), cost=7, strategy="gcra", burst=9).cost == 7


def test_a_rule_is_equal_to_its_copy() -> None:
    assert replace(rule((5, 60)), shadow=True) == rule((5, 60), shadow=True)
    assert replace(rule((5, 60)), shadow=True) != rule((5, 60))
