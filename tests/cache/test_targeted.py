"""RFC 9213, section 2.1: targeted Cache-Control, a Dictionary of RFC 9651."""

from __future__ import annotations

import sys
from string import ascii_lowercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.directives import parse_directives
from sipup_middleware.cache.targeted import _read, targeted_directives
from sipup_middleware.errors import MissingExtra


@pytest.mark.parametrize(
    "line",
    [
        b"max-age=60",
        b"public, s-maxage=10, stale-while-revalidate=5 , stale-if-error=0",
        b'no-cache="set-cookie, x-mine", private',
        b"no-store,\tmust-understand",
        b"private=set-cookie",
        b"max-age=-1",
    ],
)
def test_what_reads_alike_in_cache_control_is_read_alike(line: bytes) -> None:
    assert targeted_directives([line]) == parse_directives([line])


@pytest.mark.parametrize("lines", [[], [b""], [b"  "]])
def test_an_empty_field_is_as_good_as_none(lines: list[bytes]) -> None:
    assert targeted_directives(lines) is None


@pytest.mark.parametrize(
    "line",
    [
        *(b"Max-Age=60", b"max-age=60,", b"max-age = 60", b"max-age=", b"max-age=60 public"),
        *(
            b'no-cache="x',
            b"max-age=60, &",
            b"max-age=1234567890123456",
            b"caf\xc3\xa9",
            b";",
            b"max-age=00x",
        ),
    ],
)
def test_a_field_with_an_error_anywhere_is_as_good_as_none(line: bytes) -> None:
    assert targeted_directives([line]) is None


@pytest.mark.parametrize(
    "member",
    [
        *(b"max-age=60.5", b'max-age="60"', b"max-age=sixty", b"max-age", b"max-age=?1", b"max-age=(60)"),
        *(b"no-store=?0", b"no-store=1", b'public="yes"', b"must-revalidate=token"),
        *(b"no-cache=5", b"private=?0", b'private=("a" "b")', b"private=:YQ==:", b"s-maxage=@60"),
    ],
)
def test_a_value_of_another_type_makes_its_directive_absent_and_no_other(member: bytes) -> None:
    assert targeted_directives([member]) == {}
    assert targeted_directives([member + b", no-transform"]) == {b"no-transform": None}


def test_a_directive_that_nobody_knows_is_ignored() -> None:
    assert targeted_directives([b"max-age=60, sparkle, shine=5"]) == {b"max-age": b"60"}


def test_parameters_are_ignored() -> None:
    assert targeted_directives([b"max-age=60;a=1, public;b"]) == {b"max-age": b"60", b"public": None}


def test_lines_are_one_field_and_of_duplicates_the_last_counts() -> None:
    assert targeted_directives([b"max-age=60, public", b"max-age=90"]) == {b"max-age": b"90", b"public": None}


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _read.cache_clear()
    monkeypatch.setitem(sys.modules, "http_sf", None)

    with pytest.raises(MissingExtra, match=r"sipup-middleware\[cache\]"):
        targeted_directives([b"max-age=60"])


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_no_bytes_raise(lines: list[bytes]) -> None:
    targeted_directives(lines)


@given(
    st.dictionaries(
        st.text(ascii_lowercase, min_size=1) | st.sampled_from(["max-age", "s-maxage", "no-store"]),
        st.integers(0, 10**15 - 1) | st.none(),
    )
)
def test_known_names_survive_with_their_type_and_others_never_do(members: dict[str, int | None]) -> None:
    line = ", ".join(name if value is None else f"{name}={value}" for name, value in members.items())

    found = targeted_directives([line.encode()]) or {}

    for name in ("max-age", "s-maxage"):
        value = members.get(name)
        assert found.get(name.encode()) == (None if value is None else b"%d" % value)
    assert (b"no-store" in found) is ("no-store" in members and members["no-store"] is None)
    assert found.keys().isdisjoint({b"sparkle"})
