"""RFC 9111, section 5.2: Cache-Control; RFC 9110, section 5.6: lists and quoted strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.directives import delta_seconds, parse_directives, split_list


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"a, b ,c", [b"a", b"b", b"c"]),
        (b", a,, ,b,", [b"a", b"b"]),
        (b"", []),
        (b'x="a, b", c', [b'x="a, b"', b"c"]),
        (b'a, x="b,c"', [b"a", b'x="b,c"']),
        (b'"\\",", d', [b'"\\","', b"d"]),
        (b'"a,b" "c,d", e', [b'"a,b" "c,d"', b"e"]),
        (b'a="b, no-store', [b'a="b', b"no-store"]),
        (b'a, b="c, d', [b"a", b'b="c', b"d"]),
    ],
)
def test_commas_within_quotes_part_nothing_and_an_open_quote_quotes_nothing(
    value: bytes, members: list[bytes]
) -> None:
    assert split_list(value) == members


def test_names_match_in_any_case_and_on_any_line() -> None:
    found = parse_directives([b"Public, MAX-AGE=5", b"No-Store"])

    assert found == {b"public": None, b"max-age": b"5", b"no-store": None}


def test_a_quoted_argument_is_read_as_its_token() -> None:
    assert parse_directives([b'max-age="10", private="a, b"']) == {b"max-age": b"10", b"private": b"a, b"}


@pytest.mark.parametrize(
    "lines", [[b"max-age=9, max-age=3"], [b"max-age=3", b"max-age=9"], [b"max-age=3, max-age=03"]]
)
def test_of_a_duplicate_number_the_smaller_counts(lines: list[bytes]) -> None:
    assert delta_seconds(parse_directives(lines)[b"max-age"]) == 3


@pytest.mark.parametrize("value", [None, b"", b"-1", b"1.5", b"ten", b"+1", b"0x10", b"1 0"])
def test_what_is_no_number_makes_nothing_fresh(value: bytes | None) -> None:
    assert delta_seconds(value) == 0


@pytest.mark.parametrize("value", [b"2147483648", b"99999999999", b"9" * 5000])
def test_a_huge_number_is_2_to_the_31(value: bytes) -> None:
    assert delta_seconds(value) == 2**31


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_no_bytes_raise(lines: list[bytes]) -> None:
    parse_directives(lines)


@given(st.text(alphabet='a,"\\ =', max_size=30))
def test_no_quoting_hides_or_loses_a_byte(text: str) -> None:
    kept = b"".join(split_list(text.encode()))

    assert kept.replace(b",", b"").replace(b" ", b"") == text.encode().replace(b",", b"").replace(b" ", b"")
