"""Durations of several workers add up to one percentile, told in few words."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.jobs.durations import bin_of, p95

SECONDS = st.floats(0.001, 3600)


def told(durations: list[float]) -> dict[str, int]:
    return dict(Counter(str(bin_of(each)) for each in durations))


def exactly(durations: list[float]) -> float:
    """The least duration that at least 95 % do not exceed."""
    return sorted(durations)[-(-95 * len(durations) // 100) - 1]


@given(st.lists(SECONDS, min_size=1, max_size=200))
def test_the_percentile_is_within_ten_percent(durations: list[float]) -> None:
    assert p95([told(durations)]) == pytest.approx(exactly(durations), rel=0.1)


@given(st.lists(st.lists(SECONDS, max_size=50), max_size=5))
def test_what_several_workers_tell_adds_up(workers: list[list[float]]) -> None:
    together = told([each for durations in workers for each in durations])

    assert p95(told(durations) for durations in workers) == p95([together])


@pytest.mark.parametrize("none", [[], [{}], [{}, {}]])
def test_where_nothing_ran_there_is_no_percentile(none: list[dict[str, int]]) -> None:
    assert p95(none) is None


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 0.001])
def test_what_is_shorter_than_a_millisecond_counts_as_one(seconds: float) -> None:
    assert p95([told([seconds])]) == 0.001
