"""A text without its values: none is left in it, and texts that differ in nothing else become one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import TokenType, tokenize

from sipup_middleware.database.normal import CUT, normal


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT  *\n FROM t -- why\n WHERE a = 'x''y' ;", "SELECT * FROM t WHERE a = ?"),
        ("SELECT 1, 2.5, .5, 1e10, 1_000, 0x1F", "SELECT ?, ?, ?, ?, ?, ?"),
        ("SELECT E'a\\'b', B'101', U&'d', N'x', x'ff'", "SELECT ?, ?, ?, ?, ?"),
        ("SELECT $$it's$$, $a$ $$ $a$", "SELECT ?, ?"),
        ("SELECT \"a1 'b'\", t1.c2 FROM t1", "SELECT \"a1 'b'\", t1.c2 FROM t1"),
        ("SELECT /* 'a /* b */ */ $1 + -5", "SELECT $1 + -?"),
        ("SELECT a FROM t WHERE i IN (1, 2,3)", "SELECT a FROM t WHERE i IN (...)"),
        ("SELECT a FROM t WHERE i IN ($1,$2::int)", "SELECT a FROM t WHERE i IN (...)"),
        ("INSERT INTO t VALUES (1, 'a'), (2, 'b')", "INSERT INTO t VALUES (...), ..."),
        ("SELECT interval '1 day', a -> 'key'", "SELECT interval ?, a -> ?"),
        ("SELECT 'never closed", "SELECT ?"),
        ("", ""),
    ],
)
def test_values_comments_and_space_are_taken_out(sql: str, text: str) -> None:
    assert normal(sql).text == text


@pytest.mark.parametrize(
    ("sql", "literals"),
    [
        ("SELECT a1 FROM t WHERE b = $1", ()),
        ("SELECT 1, ''", ("1", "''")),
        ("-- 'x'\nSELECT a", ()),
    ],
)
def test_it_says_which_values_there_were(sql: str, literals: tuple[str, ...]) -> None:
    assert normal(sql).literals == literals


def test_a_text_without_end_is_read_up_to_a_bound_and_still_shows_no_value() -> None:
    found = normal(f"SELECT '{'secret' * CUT}'")

    assert found.text == "SELECT ?"
    assert len(normal(f"SELECT {'a, ' * CUT}").text) <= 1_000


SECRET = "s3cr3t"


def escaped(value: str) -> list[str]:
    doubled = value.replace("'", "''")
    return [
        f"'{doubled}'",
        "E'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'",
        f"$tag${value.replace('$', '')}$tag$",
        f"B'{doubled}'",
    ]


VALUES = (
    st.text(st.sampled_from("ab'\"\\$-/*; \n(),1"))
    .map(lambda rest: rest + SECRET + rest)
    .flatmap(lambda value: st.sampled_from(escaped(value)))
)
FRAGMENTS = st.sampled_from(
    [
        "SELECT a",
        '"col;umn"',
        "/* c */",
        "-- note\n",
        "$1",
        "+",
        "(",
        ")",
        ",",
        "f(x)",
        "t.a1",
        "::text",
        "\n",
    ]
)


@given(parts=st.lists(st.one_of(VALUES, FRAGMENTS), min_size=1, max_size=12))
def test_no_value_is_left(parts: list[str]) -> None:
    assert SECRET not in normal(" ".join(parts)).text


@given(before=FRAGMENTS, one=VALUES, other=VALUES, after=FRAGMENTS)
def test_texts_that_differ_in_values_become_one(before: str, one: str, other: str, after: str) -> None:
    assert normal(f"{before} {one} {after}").text == normal(f"{before} {other} {after}").text


NUMBERS = st.one_of(st.integers(min_value=0), st.floats(min_value=0, allow_nan=False, allow_infinity=False))


@given(number=NUMBERS)
def test_a_number_is_one_value(number: float) -> None:
    assert normal(f"SELECT a WHERE b={number}").text == "SELECT a WHERE b=?"


@given(parts=st.lists(st.one_of(VALUES, NUMBERS.map(str), FRAGMENTS), min_size=1, max_size=12))
def test_a_parser_finds_no_value_in_it(parts: list[str]) -> None:
    text = normal(" ".join(parts)).text.replace("?", "a")

    kinds = {token.token_type for token in tokenize(text.replace("$1", "a"), dialect="postgres")}
    assert not kinds & {TokenType.STRING, TokenType.NUMBER, TokenType.HEREDOC_STRING, TokenType.BIT_STRING}
