"""RFC 9110, section 5.6.7, and RFC 9111, section 4.2."""

from __future__ import annotations

from time import gmtime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.dates import parse_date

MOMENT = 784111777


@pytest.mark.parametrize(
    "text",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"sun, 06 nov 1994 08:49:37 gmt",
    ],
)
def test_the_three_formats_name_the_same_moment_in_any_case(text: bytes) -> None:
    assert parse_date(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        b"-1",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 06 Nov 1994 08:49:37 GMT ",
        b"Sun, 06 Nov 94 08:49:37 GMT",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 8:49:37 GMT",
        b"Sun, 31 Feb 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:00:00 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun Nov 06 08:49:37 1994 GMT",
        b"1994-11-06T08:49:37Z",
        b"784111777",
    ],
)
def test_anything_else_is_no_date(text: bytes) -> None:
    assert parse_date(text) is None


def test_a_leap_second_is_the_next_minute() -> None:
    assert parse_date(b"Fri, 30 Jun 1972 23:59:60 GMT") == parse_date(b"Sat, 01 Jul 1972 00:00:00 GMT")


def test_two_digits_of_a_year_far_ahead_mean_the_past() -> None:
    far, near = (gmtime().tm_year + 51) % 100, (gmtime().tm_year + 50) % 100

    past = parse_date(b"Sunday, 06-Nov-%02d 08:49:37 GMT" % far)
    ahead = parse_date(b"Sunday, 06-Nov-%02d 08:49:37 GMT" % near)

    assert past is not None
    assert ahead is not None
    assert gmtime(past).tm_year == gmtime().tm_year - 49
    assert gmtime(ahead).tm_year == gmtime().tm_year + 50


@given(st.binary(max_size=40))
def test_no_bytes_raise(text: bytes) -> None:
    parse_date(text)
