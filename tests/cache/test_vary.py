"""RFC 9111, section 4.1: which answer of a URL fits a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.vary import variant, vary_fields

FIELDS = (b"accept", b"accept-language")
Headers = list[tuple[bytes, bytes]]


def same(one: Headers, other: Headers) -> bool:
    return variant(FIELDS, one) == variant(FIELDS, other)


def test_names_of_all_lines_count_in_lower_case() -> None:
    assert vary_fields([b"Accept-Language, accept", b"ACCEPT"]) == FIELDS


@pytest.mark.parametrize("lines", [[b"*"], [b"accept, *"], [b"accept", b" * "]])
def test_a_star_anywhere_matches_nothing(lines: list[bytes]) -> None:
    assert vary_fields(lines) is None


@pytest.mark.parametrize(
    "other",
    [
        [(b"accept", b"a,b")],
        [(b"accept", b"a ,\tb")],
        [(b"accept", b"a"), (b"accept", b"b")],
        [(b"accept", b"a, b"), (b"x-other", b"c")],
    ],
)
def test_lines_and_white_space_make_no_difference(other: Headers) -> None:
    assert same([(b"accept", b"a, b")], other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([], [(b"accept", b"")]),
        ([(b"accept", b"a")], [(b"accept-language", b"a")]),
        ([(b"accept", b"a")], [(b"accept", b"a, a")]),
        ([(b"accept", b"a, b")], [(b"accept", b"b, a")]),
        ([(b"accept", b"a")], [(b"accept", b"A")]),
        ([(b"accept", b"a"), (b"accept-language", b"b")], [(b"accept", b"b"), (b"accept-language", b"a")]),
    ],
)
def test_another_value_is_another_variant_and_absent_differs_from_empty(one: Headers, other: Headers) -> None:
    assert not same(one, other)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_two_fields_mix(one: bytes, other: bytes) -> None:
    first = [(b"accept", one), (b"accept-language", other)]
    second = [(b"accept", one + b"x"), (b"accept-language", other)]

    assert len(variant(FIELDS, first)) == 20
    assert not same(first, second)
