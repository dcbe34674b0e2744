"""RFC 9111, section 5.2.1: what a request's Cache-Control asks for."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.client import Wish, read_wish


def wish(line: bytes) -> Wish:
    read = read_wish([line])
    assert read is not None
    return read


@pytest.mark.parametrize("lines", [[], [b""], [b"no-transform"], [b"max_age=5, sparkle"], [b'x="no-cache"']])
def test_what_asks_for_nothing_is_nothing(lines: list[bytes]) -> None:
    assert read_wish(lines) is None


def test_directives_are_read_in_any_case_from_any_line() -> None:
    found = read_wish(
        [b"No-Cache, NO-STORE", b"Only-If-Cached, Max-Age=5", b'min-fresh="3", max-stale=2, stale-if-error=4']
    )

    assert found == Wish(
        no_cache=True,
        no_store=True,
        only_if_cached=True,
        max_age=5,
        min_fresh=3,
        max_stale=2,
        stale_if_error=4,
    )


@pytest.mark.parametrize(("age", "good"), [(0, True), (10, True), (10.5, False), (11, False)])
def test_section_5_2_1_1_max_age_bounds_the_age(age: float, *, good: bool) -> None:
    assert wish(b"max-age=10").accepts(age, 100, may_be_stale=True) is good


@pytest.mark.parametrize(
    ("line", "staleness", "good"),
    [
        (b"max-stale", 10**9, True),
        (b"max-stale=5", 5, True),
        (b"max-stale=5", 5.5, False),
        (b"max-stale=five", 0, True),
        (b"max-stale=five", 1, False),
        (b"max-age=999", 0, False),
        (b"min-fresh=0", 1, False),
        (b"no-store", 0, False),
    ],
)
def test_section_5_2_1_2_max_stale_alone_lets_an_answer_be_stale(
    line: bytes, staleness: float, *, good: bool
) -> None:
    assert wish(line).accepts(100 + staleness, 100, may_be_stale=True) is good


def test_section_4_2_4_what_may_not_be_stale_is_not_for_any_wish() -> None:
    assert not wish(b"max-stale").accepts(100, 100, may_be_stale=False)


def test_max_age_bounds_the_age_beside_max_stale_too() -> None:
    asked = wish(b"max-age=10, max-stale")

    assert asked.accepts(10, 5, may_be_stale=True)
    assert not asked.accepts(11, 5, may_be_stale=True)


@pytest.mark.parametrize(("age", "good"), [(89, True), (90, True), (90.5, False), (100, False)])
def test_section_5_2_1_3_min_fresh_wants_so_much_left(age: float, *, good: bool) -> None:
    assert wish(b"min-fresh=10").accepts(age, 100, may_be_stale=True) is good


def test_what_is_no_number_accepts_nothing_that_has_an_age() -> None:
    assert not wish(b"max-age=ten").accepts(1, 100, may_be_stale=True)


@given(st.lists(st.binary(max_size=60), max_size=4), st.floats(0, 1e9), st.floats(0, 1e9))
def test_no_bytes_raise(lines: list[bytes], age: float, lifetime: float) -> None:
    read = read_wish(lines)

    if read is not None:
        read.accepts(age, lifetime, may_be_stale=True)


some = st.none() | st.integers(0, 100)


@given(
    st.builds(Wish, max_age=some, min_fresh=some, max_stale=some | st.just(inf)),
    st.integers(0, 100),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_who_takes_an_answer_takes_a_younger_one(wish: Wish, age: int, younger: int, lifetime: int) -> None:
    if wish.accepts(age, lifetime, may_be_stale=True):
        assert wish.accepts(min(age, younger), lifetime, may_be_stale=True)


@given(
    st.builds(Wish, max_age=some, min_fresh=some, max_stale=some), st.integers(0, 200), st.integers(0, 100)
)
def test_what_is_forbidden_to_be_stale_is_accepted_only_fresh(wish: Wish, age: int, lifetime: int) -> None:
    if wish.accepts(age, lifetime, may_be_stale=False):
        assert age < lifetime
