"""The arithmetic of a sliding window, by properties."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from sipup_middleware.ratelimit.policy import Rule, faded, wait
from tests.ratelimit.doubles import rule

RULES = st.builds(
    lambda amount, period, share: Rule(
        index=0, name="x", amount=amount, period=period * 1000, cost=max(1, int(amount * share))
    ),
    st.integers(1, 2000),
    st.integers(1, 86400),
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
    counts = st.integers(0, rule.amount)
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
