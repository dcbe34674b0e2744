"""RFC 9110, section 14: byte ranges of a stored answer; section 13.1.5: If-Range."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.ranges import content_range, requested_slice, unsatisfied

CHANGED, SAME_SECOND, SENT = (b"Sun, 06 Nov 1994 08:49:%d GMT" % second for second in (37, 37, 38))


def asked(value: bytes, if_range: bytes | None = None, **stored: Any) -> Any:
    headers = [(b"accept", b"*/*"), (b"range", value)]
    if if_range is not None:
        headers.append((b"if-range", if_range))
    known = {"length": 10, "etag": b'"a"', "modified": CHANGED, "date": SENT}
    return requested_slice(headers, **{**known, **stored})


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (b"bytes=0-0", (0, 1)),
        (b"bytes=2-4", (2, 5)),
        (b"bytes=9-9", (9, 10)),
        (b"bytes=5-", (5, 10)),
        (b"bytes=0-99", (0, 10)),
        (b"bytes=-3", (7, 10)),
        (b"bytes=-10", (0, 10)),
        (b"bytes=-99", (0, 10)),
        (b"BYTES=2-4", (2, 5)),
        (b" bytes=002-0004\t", (2, 5)),
    ],
)
def test_section_14_1_2_a_range_is_cut_to_what_there_is(value: bytes, part: tuple[int, int]) -> None:
    assert asked(value) == part


@pytest.mark.parametrize("value", [b"bytes=10-", b"bytes=10-20", b"bytes=-0", b"bytes=-000"])
def test_section_14_1_2_what_begins_beyond_the_end_or_is_empty_is_unsatisfiable(value: bytes) -> None:
    assert asked(value) == "unsatisfiable"


def test_of_an_empty_body_nothing_can_be_a_part() -> None:
    assert asked(b"bytes=0-", length=0) == "unsatisfiable"
    assert asked(b"bytes=-5", length=0) is None


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"bytes", b"bytes=", b"bytes=-", b"bytes=--1", b"bytes=1", b"bytes=a-b", b"bytes=1-2-3"),
        *(b"bytes=4-2", b"bytes=+1-2", b"bytes=1.0-2", b"bytes =0-1", b"bytes=0 -1", b"bytes=\xb2-3"),
        *(b"items=0-1", b"=0-1", b"none"),
    ],
)
def test_section_14_2_what_is_malformed_or_of_another_unit_gets_the_whole(value: bytes) -> None:
    assert asked(value) is None


def test_several_ranges_get_the_whole() -> None:
    headers = [(b"range", b"bytes=0-1"), (b"range", b"bytes=0-1")]

    assert asked(b"bytes=0-1,3-4") is None
    assert requested_slice(headers, length=10, etag=None, modified=None, date=None) is None


def test_without_a_range_an_if_range_asks_for_nothing() -> None:
    headers = [(b"if-range", b'"a"')]

    assert requested_slice(headers, length=10, etag=b'"a"', modified=None, date=None) is None


@pytest.mark.parametrize("digits", [19, 5_000, 1_000_000])
def test_a_number_of_any_size_is_just_far_away(digits: int) -> None:
    far = b"9" * digits

    assert asked(b"bytes=2-" + far) == (2, 10)
    assert asked(b"bytes=-" + far) == (0, 10)
    assert asked(b"bytes=" + far + b"-") == "unsatisfiable"
    assert asked(b"bytes=" + b"0" * digits + b"2-3") == (2, 4)


@pytest.mark.parametrize(
    ("condition", "etag", "holds"),
    [
        (b'"a"', b'"a"', True),
        (b' "a" ', b'"a"', True),
        (b'"a"', b'"b"', False),
        (b'"a"', None, False),
        (b'W/"a"', b'W/"a"', False),
        (b'"a"', b'W/"a"', False),
        (b'W/"a"', b'"a"', False),
        (b'"a", "b"', b'"a"', False),
        (b"*", b'"a"', False),
        (b"", b'"a"', False),
    ],
)
def test_section_13_1_5_a_tag_holds_by_strong_comparison(
    condition: bytes, etag: bytes | None, *, holds: bool
) -> None:
    assert (asked(b"bytes=2-4", condition, etag=etag) == (2, 5)) is holds


@pytest.mark.parametrize(
    ("condition", "modified", "date", "holds"),
    [
        (CHANGED, CHANGED, SENT, True),
        (CHANGED, CHANGED, SAME_SECOND, False),
        (CHANGED, SENT, CHANGED, False),
        (CHANGED, CHANGED, None, False),
        (CHANGED, None, SENT, False),
        (SENT, CHANGED, SENT, False),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", CHANGED, SENT, False),
        (b"yesterday", b"yesterday", SENT, False),
        (CHANGED, CHANGED, b"now", False),
    ],
)
def test_section_13_1_5_a_date_holds_where_it_is_the_stored_one_and_strong_by_8_8_2_2(
    condition: bytes, modified: bytes | None, date: bytes | None, *, holds: bool
) -> None:
    assert (asked(b"bytes=2-4", condition, modified=modified, date=date) == (2, 5)) is holds


def test_two_if_ranges_hold_nothing() -> None:
    headers = [(b"range", b"bytes=2-4"), (b"if-range", b'"a"'), (b"if-range", b'"a"')]

    assert requested_slice(headers, length=10, etag=b'"a"', modified=None, date=None) is None


def test_section_13_1_5_where_it_does_not_hold_nothing_is_unsatisfiable() -> None:
    assert asked(b"bytes=99-", b'"b"') is None


def test_section_14_4_the_content_range_tells_the_last_byte_and_the_whole_length() -> None:
    assert content_range(2, 5, 10) == b"bytes 2-4/10"
    assert unsatisfied(10) == b"bytes */10"


@given(first=st.integers(0, 50), last=st.integers(0, 50), length=st.integers(0, 40))
def test_a_part_is_what_a_list_of_the_bytes_would_give(first: int, last: int, length: int) -> None:
    body, part = bytes(range(length)), asked(b"bytes=%d-%d" % (first, last), length=length)

    wanted = bytes(position for position in range(length) if first <= position <= last)
    if last < first:
        assert part is None
    elif not wanted:
        assert part == "unsatisfiable"
    else:
        assert body[slice(*part)] == wanted


@given(wanted=st.integers(1, 60), length=st.integers(1, 40))
def test_a_suffix_is_the_end_of_the_body(wanted: int, length: int) -> None:
    body = bytes(range(length))

    assert body[slice(*asked(b"bytes=-%d" % wanted, length=length))] == body[-wanted:]


@given(
    st.one_of(st.binary(max_size=40), st.from_regex(rb"bytes=\d*-\d*[, -]?\d*", fullmatch=True)),
    st.binary(max_size=40) | st.none(),
    st.integers(0, 1 << 70),
)
def test_no_bytes_raise_and_every_part_lies_within(value: bytes, if_range: bytes | None, length: int) -> None:
    part = asked(value, if_range, length=length, etag=if_range, modified=if_range)

    if isinstance(part, tuple):
        assert 0 <= part[0] < part[1] <= length
