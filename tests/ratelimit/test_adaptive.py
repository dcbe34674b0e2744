"""The adaptive limit and the loop's lag, by tables and by properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.ratelimit.adaptive import (
    FEWEST,
    FLOOR,
    HALF_LIFE,
    WINDOW,
    AdaptiveLimit,
    Level,
    LoopLag,
    adapt,
)

SECONDS = st.floats(0, 3600)
SETTLED = Level(400.0, baseline=0.1, windows=100)


@pytest.mark.parametrize(
    ("latency", "peak", "limit"),
    [
        (0.10, 400, 420.0),  # as usual: grows by its square root
        (0.05, 400, 420.0),
        (0.14, 400, 420.0),  # half as long again is as usual, too
        (0.20, 400, 384.0),  # twice as long: a fifth of the way to 3/4 of it and its square root
        (0.30, 400, 364.0),
        (9.99, 400, 364.0),  # an outlier takes no more than a tenth
        (0.10, 200, 420.0),  # half of it is used
        (0.10, 199, 400.0),  # less is: no growth, ...
        (9.99, 199, 400.0),  # ... and no fall
    ],
)
def test_a_window_moves_the_limit(latency: float, peak: int, limit: float) -> None:
    level = adapt(SETTLED, latency, peak, floor=FLOOR, cap=2048)

    assert level.limit == pytest.approx(limit, abs=0.5)


@pytest.mark.parametrize(("latency", "limit"), [(0.1, 401), (9.9, 398)])
def test_cap_and_floor_bound_the_limit(latency: float, limit: int) -> None:
    assert adapt(SETTLED, latency, 400, floor=398, cap=401).limit == limit


def test_the_limit_falls_while_latency_is_doubled_and_comes_back_after() -> None:
    level = Level(2048.0)
    for _ in range(20):
        level = adapt(level, 0.1, 2000, floor=FLOOR, cap=2048)
    before = level.limit

    for _ in range(120):  # half a minute
        level = adapt(level, 0.2, int(level.limit), floor=FLOOR, cap=2048)
    overloaded = level.limit
    for _ in range(120):
        level = adapt(level, 0.1, int(level.limit), floor=FLOOR, cap=2048)

    assert before == level.limit == 2048
    assert overloaded < 100


def test_a_slowness_that_is_over_is_soon_no_measure() -> None:
    level = Level(400.0, baseline=10.0, windows=100)

    for _ in range(40):
        level = adapt(level, 0.1, 10, floor=FLOOR, cap=2048)

    assert level.baseline <= 0.2


def test_the_first_windows_count_alike() -> None:
    level = Level(400.0)

    for latency in (0.1, 0.2, 0.3):
        level = adapt(level, latency, 10, floor=FLOOR, cap=2048)

    assert level.baseline == pytest.approx(0.2)


@given(st.builds(Level, st.floats(FLOOR, 2048), SECONDS, st.integers(1, 1000)), SECONDS, st.integers(0, 2048))
def test_a_window_never_moves_the_limit_far_nor_out_of_bounds(
    level: Level, latency: float, peak: int
) -> None:
    after = adapt(level, latency, peak, floor=FLOOR, cap=2048)

    assert FLOOR <= after.limit <= 2048
    assert 0.9 * level.limit <= after.limit <= level.limit + level.limit**0.5
    assert after.limit == level.limit or peak >= level.limit / 2
    assert after.baseline >= 0


@given(st.floats(FLOOR, 2048), SECONDS, SECONDS, st.integers(20, 2048))
def test_a_longer_latency_never_makes_a_higher_limit(
    limit: float, latency: float, more: float, peak: int
) -> None:
    level = Level(limit, baseline=1.0, windows=100)

    shorter = adapt(level, latency, peak, floor=FLOOR, cap=2048)
    longer = adapt(level, latency + more, peak, floor=FLOOR, cap=2048)

    assert longer.limit <= shorter.limit + 0.01 * limit  # the baseline follows a little


def test_a_window_takes_time_and_responses() -> None:
    limit = AdaptiveLimit(100)
    for _ in range(FEWEST):
        limit.record(0.1, 100, 0.0)
    first = limit.level.windows

    for _ in range(FEWEST):
        limit.record(0.1, 100, WINDOW / 2)
    too_early = limit.level.windows
    limit.record(0.1, 100, WINDOW)

    assert (first, too_early, limit.level.windows) == (1, 1, 2)


def test_few_responses_make_no_window() -> None:
    limit = AdaptiveLimit(100)

    for number in range(FEWEST - 1):
        limit.record(9.9, 100, float(number))

    assert limit.level == Level(100.0)


def test_the_peak_of_a_window_decides_whether_the_limit_was_used() -> None:
    limit = AdaptiveLimit(100)
    limit.level = Level(50.0, baseline=0.1, windows=100)

    moved = [limit.record(0.1, inflight, 0.0) for inflight in (1, 25, *[1] * (FEWEST - 2))][-1]

    assert moved == 57


def test_a_cap_below_the_floor_is_the_limit() -> None:
    limit = AdaptiveLimit(5)

    moved = [
        limit.record(seconds, 5, float(second)) for second, seconds in enumerate([0.1] * 50 + [9.9] * 50)
    ]

    assert set(moved) == {5}


@pytest.mark.parametrize(
    ("lag", "seconds"), [(0.1, None), (0.2, None), (0.4, HALF_LIFE), (0.8, 2 * HALF_LIFE)]
)
def test_a_lag_halves_until_it_is_low_enough(lag: float, seconds: float | None) -> None:
    loop = LoopLag(0.2)

    loop.observe(lag, 10.0)

    assert loop.until == (float("-inf") if seconds is None else pytest.approx(10 + seconds))
    assert loop.at(10.0) == lag
    assert loop.at(10 + HALF_LIFE) == pytest.approx(lag / 2)


def test_a_clock_that_runs_backwards_makes_no_lag_worse() -> None:
    loop = LoopLag(0.2)

    loop.observe(0.4, 10.0)

    assert loop.at(5.0) == 0.4


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), max_size=30), st.floats(0, 100))
def test_until_is_when_every_lag_has_decayed(observed: list[tuple[float, float]], after: float) -> None:
    loop, now = LoopLag(0.2), 0.0
    for passed, seconds in observed:
        now += passed
        loop.observe(seconds, now)

    later = now + after

    if abs(loop.until - later) > 1e-6:
        assert (later < loop.until) == (loop.at(later) > 0.2)
