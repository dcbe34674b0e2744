"""RFC 9875: Cache-Groups and Cache-Group-Invalidation, Lists of Strings of RFC 9651."""

from __future__ import annotations

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.groups import group_tags
from tests.asgi import http_scope

SCOPE = http_scope()


def named(*lines: bytes) -> list[str]:
    return [tag.removeprefix("group:http://testserver ") for tag in group_tags(SCOPE, lines)]


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([b'"a"'], ["a"]),
        ([b'"a", "b c"', b'"d"'], ["a", "b c", "d"]),
        ([b'"a, b"'], ["a, b"]),
        ([b'"\\"\\\\"'], ['"\\']),
        ([b'"a";x="1";y, "b" ;z'], ["a", "b"]),
        ([b'""'], [""]),
        ([b""], []),
        ([], []),
    ],
)
def test_2_each_member_is_a_group(lines: list[bytes], names: list[str]) -> None:
    assert named(*lines) == names


@pytest.mark.parametrize("line", [b"a", b'"a', b"1", b'"a", b', b'"a" b', b'("a")', b'"\\a"', b'"\xe4"'])
def test_2_what_is_no_list_of_strings_names_nothing(line: bytes) -> None:
    assert named(line) == []


def test_2_1_a_group_is_of_one_origin() -> None:
    others = [
        http_scope(scheme="https"),
        http_scope(headers=[]) | {"headers": [(b"host", b"other")]},
        http_scope() | {"headers": [(b"host", b"TestServer")]},
    ]

    tags = [group_tags(scope, [b'"a"']) for scope in (SCOPE, *others)]

    assert tags[0] == tags[3]
    assert len({tag for (tag,) in tags}) == 3


@given(st.lists(st.text(alphabet='ab ,;"\\', max_size=6), min_size=1, max_size=4))
def test_2_every_string_is_read_as_it_was_written(names: list[str]) -> None:
    assert named(http_sf.ser([*names]).encode()) == names


@given(st.lists(st.binary(max_size=40), max_size=3))
def test_no_bytes_raise(lines: list[bytes]) -> None:
    named(*lines)
