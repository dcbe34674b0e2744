"""RFC 9110, section 13, as a cache evaluates it: RFC 9111, section 4.3.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.validators import not_modified

MODIFIED = 784111777
SAME, LATER, EARLIER = (b"Sun, 06 Nov 1994 08:49:%d GMT" % second for second in (37, 38, 36))


@pytest.mark.parametrize(
    "asked", [b'"a"', b'W/"a"', b'"x", "a"', b'"x" ,\tW/"a"', b"*", b' "a" ', b'"x,y", "a"', b',"a",']
)
@pytest.mark.parametrize("etag", [b'"a"', b'W/"a"'])
def test_a_tag_in_the_list_matches_weakly(asked: bytes, etag: bytes) -> None:
    assert not_modified([(b"if-none-match", asked)], etag, MODIFIED)


@pytest.mark.parametrize(
    "asked", [b'"b"', b"a", b"", b'"a', b'"x", a', b'w/"a"', b'"x,"a"', b'"a" "b"', b'"*"']
)
def test_another_tag_or_a_malformed_list_gets_the_whole(asked: bytes) -> None:
    assert not not_modified([(b"if-none-match", asked)], b'"a"', MODIFIED)


def test_a_tag_with_a_comma_is_one_tag() -> None:
    assert not_modified([(b"if-none-match", b'"a,b"')], b'"a,b"', MODIFIED)
    assert not not_modified([(b"if-none-match", b'"a,b"')], b'"b"', MODIFIED)


def test_several_lines_are_one_list() -> None:
    asked = [(b"if-none-match", b'"x"'), (b"if-none-match", b'"a"')]

    assert not_modified(asked, b'"a"', MODIFIED)


def test_an_answer_without_a_tag_matches_only_the_star() -> None:
    assert not_modified([(b"if-none-match", b"*")], None, MODIFIED)
    assert not not_modified([(b"if-none-match", b'"a"')], None, MODIFIED)


@pytest.mark.parametrize(("since", "unchanged"), [(SAME, True), (LATER, True), (EARLIER, False)])
def test_a_date_not_before_the_last_change_has_it(since: bytes, *, unchanged: bool) -> None:
    assert not_modified([(b"if-modified-since", since)], None, MODIFIED) is unchanged


@pytest.mark.parametrize("since", [b"yesterday", b"", b"0"])
def test_what_is_no_date_is_ignored(since: bytes) -> None:
    assert not not_modified([(b"if-modified-since", since)], None, MODIFIED)


def test_two_dates_are_ignored() -> None:
    assert not not_modified([(b"if-modified-since", LATER), (b"if-modified-since", LATER)], None, MODIFIED)


def test_a_date_is_ignored_beside_a_tag() -> None:
    asked = [(b"if-modified-since", LATER), (b"if-none-match", b'"b"')]

    assert not not_modified(asked, b'"a"', MODIFIED)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_bytes_raise(tags: bytes, since: bytes) -> None:
    not_modified([(b"if-none-match", tags)], b'"a"', MODIFIED)
    not_modified([(b"if-modified-since", since)], b'"a"', MODIFIED)
