"""When a job runs again, and what it looks like to its broker."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from saq.job import Job as SaqJob
from saq.job import Status

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs.policy import (
    LARGEST_PAYLOAD,
    PRIORITIES,
    NewJob,
    Priority,
    delay_before,
    describe,
    rank,
)

BACKOFFS = st.tuples(
    st.floats(0.1, 100), st.floats(1, 10), st.floats(1, 10_000)
)  # seconds, the factor, the most seconds
ATTEMPTS = st.integers(1, 50)


def described(payload: Any = None, **changes: Any) -> NewJob:
    options: dict[str, Any] = {
        "key": "k1",
        "queue": "sipup",
        "priority": "normal",
        "retries": 3,
        "timeout": 60,
        "now": 1_000_000.25,
        "delay": 0,
        "meta": {},
    }
    return describe("invoice.sync", payload or {}, **{**options, **changes})


def test_the_standard_delays_are_2_8_and_32_seconds() -> None:
    assert [delay_before((2, 4.0, 300), attempt, 0.5) for attempt in (1, 2, 3)] == [2, 8, 32]


@given(BACKOFFS, ATTEMPTS, st.floats(0, 1))
def test_a_delay_is_spread_by_a_quarter_at_most(
    backoff: tuple[float, float, float], attempt: int, drawn: float
) -> None:
    middle = delay_before(backoff, attempt, 0.5)

    delay = delay_before(backoff, attempt, drawn)

    assert 0.75 * middle <= delay <= 1.25 * middle or delay == pytest.approx(middle, rel=0.2501)
    assert 0 < delay <= 1.25 * backoff[2] * (1 + 1e-9)


@given(BACKOFFS, ATTEMPTS)
def test_delays_grow_by_the_factor_until_they_are_the_longest(
    backoff: tuple[float, float, float], attempt: int
) -> None:
    _, factor, longest = backoff

    before, after = (delay_before(backoff, number, 0.5) for number in (attempt, attempt + 1))

    assert after == pytest.approx(min(before * factor, longest))


def test_saq_reads_what_is_described() -> None:
    new = described({"invoice": 7}, priority="high", meta={"request_id": "ab"}, retries=2, timeout=1.5)

    read = SaqJob(**orjson.loads(new.document))

    assert (read.function, read.kwargs, read.key) == ("invoice.sync", {"invoice": 7}, "k1")
    assert (read.retries, read.priority, read.meta) == (3, 10, {"request_id": "ab"})
    assert (read.status, read.queued, read.scheduled) == (Status.QUEUED, 1_000_000_250, 0)
    assert read.timeout > 1.5, "SAQ's own timeout must never be the first"
    assert (new.key, new.rank, new.due) == ("k1", 10, 0)


def test_a_delay_is_never_cut_short() -> None:
    assert described(delay=0.5).due == 1_000_001
    assert described(delay=10).due == 1_000_011
    assert SaqJob(**orjson.loads(described(delay=10).document)).scheduled == 1_000_011


@pytest.mark.parametrize(
    ("payload", "kind"), [({"a": object()}, "object"), ({"a": {1}}, "set"), ({"a": b"b"}, "bytes")]
)
def test_a_payload_that_is_not_json_is_refused(payload: Any, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"the payload of invoice.sync must be JSON: .*{kind}"):
        described(payload)


def test_a_payload_may_have_256_kib_and_not_a_byte_more() -> None:
    frame = len(orjson.dumps({"a": ""}))

    described({"a": "x" * (LARGEST_PAYLOAD - frame)})

    with pytest.raises(ConfigurationError, match=f"has {LARGEST_PAYLOAD + 1} bytes, and {256 << 10} may be"):
        described({"a": "x" * (LARGEST_PAYLOAD - frame + 1)})


def test_the_complaint_about_a_payload_does_not_show_it() -> None:
    with pytest.raises(ConfigurationError) as refused:
        described({"password": "hunter2", "a": object()})

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("priority", ["urgent", "", 10])
def test_a_priority_that_is_none_is_refused(priority: Any) -> None:
    with pytest.raises(ConfigurationError, match="priority must be one of high, normal, low"):
        described(priority=priority)


@pytest.mark.parametrize("delay", [-1, float("inf"), float("nan")])
def test_a_delay_that_is_none_is_refused(delay: float) -> None:
    with pytest.raises(ConfigurationError, match="delay must be 0 seconds or more"):
        described(delay=delay)


@pytest.mark.parametrize("name", PRIORITIES)
def test_a_number_of_ours_stands_for_its_priority(name: Priority) -> None:
    assert rank(PRIORITIES[name]) == name


@pytest.mark.parametrize(
    ("number", "name"), [(-5, "high"), (0, "high"), (11, "normal"), (21, "low"), (999, "low")]
)
def test_every_other_number_is_counted_under_the_next(number: int, name: Priority) -> None:
    assert rank(number) == name
