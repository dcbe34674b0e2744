from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.ratelimit.backoff import INNOCENT, Backoff, Record, banned, rewound, struck, swing

NOW = 1_700_000_040_000
EXACT = Backoff(jitter=0)


def bans(backoff: Backoff, moments: list[int], by: float = 1.0) -> list[int]:
    """How long each strike bans, the strikes being so many milliseconds after `NOW`."""
    record, told = INNOCENT, []
    for moment in moments:
        record, ban = struck(backoff, record, NOW + moment, by)
        told.append(ban)
    return told


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"after": -1}, "after"),
        ({"after": 2.5}, "after"),
        ({"after": True}, "after"),
        ({"within": 0}, "within"),
        ({"within": "60"}, "within"),
        ({"base": 0}, "base"),
        ({"base": float("nan")}, "base"),
        ({"factor": 0.5}, "factor"),
        ({"max": 0.5}, "max"),
        ({"max": float("inf")}, "max"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter": 1}, "jitter"),
        ({"forget": 0}, "forget"),
        ({"forget": 0.0001}, "forget"),
        ({"strike_on": {200}}, "strike_on"),
        ({"strike_on": {"401"}}, "strike_on"),
        ({"strike_on": {600}}, "strike_on"),
        ({"strike_on": 401}, "strike_on"),
        ({"strike_on": "401"}, "strike_on"),
    ],
)
def test_nonsense_is_refused_and_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"Backoff\.{field} "):
        Backoff(**options)


def test_it_is_a_value() -> None:
    statuses = {401, 403}
    backoff = Backoff(strike_on=statuses)
    statuses.clear()

    assert backoff == Backoff(strike_on=frozenset({401, 403}))
    assert hash(backoff) == hash(Backoff(strike_on={403, 401}))
    assert pickle.loads(pickle.dumps(backoff)) == copy.copy(backoff) == backoff


def test_five_refusals_are_plain_and_then_each_bans_for_twice_as_long() -> None:
    moments = [0, 1, 2, 3, 4, 5, 2000, 5000, 10_000, 20_000]

    assert bans(EXACT, moments) == [0] * 5 + [1000, 2000, 4000, 8000, 16_000]


def test_no_ban_is_longer_than_the_longest() -> None:
    moments = [5_000_000 * number for number in range(40)]

    told = bans(Backoff(after=0, jitter=0, forget=10**6), moments)

    assert told[:3] == [1000, 2000, 4000]
    assert told[12:] == [3_600_000] * 28


def test_refusals_that_lie_apart_do_not_count_together() -> None:
    apart = [20_000 * number for number in range(50)]

    assert bans(EXACT, apart) == [0] * 50
    assert bans(EXACT, [0, 0, 0, 0, 0, 59_999]) == [0] * 5 + [1000]
    assert bans(EXACT, [0, 0, 0, 0, 0, 60_000]) == [0] * 6


def test_a_request_during_a_ban_neither_extends_it_nor_is_a_strike() -> None:
    record, ban = struck(Backoff(after=0, jitter=0), INNOCENT, NOW, 1.0)

    same, none = struck(Backoff(after=0, jitter=0), record, NOW + ban - 1, 1.0)

    assert (same, none) == (record, 0)


def test_after_a_quiet_time_a_client_begins_anew() -> None:
    day = 86_400_000

    assert bans(EXACT, [0] * 6 + [1000, 1000 + day]) == [0] * 5 + [1000, 2000, 0]
    assert bans(EXACT, [0] * 6 + [1000, 1000 + day - 1]) == [0] * 5 + [1000, 2000, 4000]


def test_a_factor_of_one_bans_for_the_same_time_for_ever() -> None:
    backoff = Backoff(after=0, base=7, factor=1, max=7, jitter=0)

    assert bans(backoff, [10_000 * number for number in range(9)]) == [7000] * 9


@given(st.floats(0, 1), st.integers(0, 11))
def test_chance_moves_a_ban_by_a_tenth_and_never_past_the_longest(drawn: float, level: int) -> None:
    record = Record(since=NOW, level=level, last=NOW)

    _, ban = struck(Backoff(after=0), record, NOW, swing(Backoff(), drawn))

    assert 0.9 * 1000 * 2**level - 1 <= ban <= 1.1 * 1000 * 2**level + 1
    assert ban <= 3_600_000


def test_a_ban_by_hand_does_not_make_the_next_one_longer() -> None:
    record = banned(EXACT, Record(level=2, last=NOW - 10), NOW, 60_000)
    forgotten = banned(EXACT, Record(level=2, last=NOW - 90_000_000), NOW, 60_000)

    assert record == Record(till=NOW + 60_000, level=2, last=NOW)
    assert forgotten == Record(till=NOW + 60_000, last=NOW)


@given(st.integers(1, 3_600_000))
def test_a_clock_that_is_set_back_bans_nobody_for_longer(jump: int) -> None:
    record, ban = struck(Backoff(after=0, jitter=0), INNOCENT, NOW, 1.0)

    after = rewound(record, NOW - jump)

    assert after.till - (NOW - jump) == ban
    assert rewound(after, NOW) == after
