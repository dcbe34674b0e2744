from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.telemetry import Counter, Histogram

DURATIONS = st.lists(st.floats(min_value=1e-6, max_value=200), min_size=1, max_size=300)


def exact(durations: list[float], fraction: float) -> float:
    """The nearest-rank quantile."""
    return sorted(durations)[math.ceil(fraction * len(durations)) - 1]


def recorded(durations: list[float]) -> Histogram:
    histogram = Histogram()
    for duration in durations:
        histogram.record(duration)
    return histogram


def test_a_counter_adds_up() -> None:
    counter = Counter()

    counter.add()
    counter.add(41)

    assert counter.value == 42


@given(DURATIONS)
def test_quantiles_are_within_two_percent_of_exact(durations: list[float]) -> None:
    histogram = recorded(durations)

    for fraction in (0.5, 0.95, 0.99):
        assert histogram.quantiles(fraction) == [pytest.approx(exact(durations, fraction), rel=0.02)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_p99_of_a_hundred_thousand_samples_is_within_five_percent(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 (no secret)
    durations = [draw.lognormvariate(-6, 1.5) for _ in range(100_000)]

    assert recorded(durations).quantiles(0.99) == [pytest.approx(exact(durations, 0.99), rel=0.05)]


@given(DURATIONS, DURATIONS)
def test_merging_is_like_recording_into_one(some: list[float], others: list[float]) -> None:
    parts = recorded(some), recorded(others)
    parts[1].rotate()

    merged = Histogram.merged(parts)

    whole = recorded(some + others)
    assert (merged.count, merged.recent, merged.maximum) == (whole.count, whole.recent, whole.maximum)
    assert merged.total == pytest.approx(whole.total)
    assert merged.quantiles(0.1, 0.5, 0.99) == whole.quantiles(0.1, 0.5, 0.99)


def test_what_was_merged_can_be_recorded_into() -> None:
    merged = Histogram.merged([recorded([1.0])])

    merged.record(2.0)

    assert merged.count == 2


@pytest.mark.parametrize("duration", [0.0, 1e-9, 1e-6])
def test_a_duration_too_short_counts_as_the_shortest(duration: float) -> None:
    assert recorded([duration]).quantiles(0.5)[0] <= 1e-6


def test_a_duration_too_long_counts_as_the_longest() -> None:
    histogram = recorded([1e6])

    assert (histogram.count, histogram.maximum) == (1, 1e6)
    assert histogram.quantiles(0.5)[0] > 260


def test_the_window_before_the_last_is_forgotten_but_not_the_total() -> None:
    histogram = recorded([1.0, 3.0])

    histogram.rotate()
    histogram.record(0.5)
    assert (histogram.recent, histogram.maximum) == (3, 3.0)

    histogram.rotate()
    assert (histogram.recent, histogram.maximum) == (1, 0.5)
    assert histogram.quantiles(0.99) == [pytest.approx(0.5, rel=0.02)]

    histogram.rotate()
    assert (histogram.recent, histogram.maximum) == (0, 0.0)
    assert histogram.quantiles(0.5, 0.99) == [0.0, 0.0]
    assert (histogram.count, histogram.total) == (3, 4.5)


def test_no_quantile_is_above_the_maximum() -> None:
    histogram = recorded([0.001] * 100)

    assert histogram.quantiles(1.0)[0] <= histogram.maximum
