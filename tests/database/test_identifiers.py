"""Names become SQL, and nothing else does: the server reads back what was quoted."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipup_middleware.database import Facade, Identifier, quote_identifier
from sipup_middleware.errors import ConfigurationError

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: len(name.encode()) <= 63
)


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("id", '"id"'),
        ("Id", '"Id"'),
        ("a b", '"a b"'),
        ('a"b', '"a""b"'),
        ('"; DROP', '"""; DROP"'),
        ("ä", '"ä"'),
    ],
)
def test_a_name_is_quoted_as_it_is_written(name: str, quoted: str) -> None:
    assert quote_identifier(name) == quoted


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64, "ä" * 32, "\ud800"])
def test_what_can_be_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="identifier"):
        quote_identifier(name)
    with pytest.raises(ConfigurationError, match="identifier"):
        Identifier("public", name)


def test_a_dot_parts_schema_and_table_only_where_it_is_parsed() -> None:
    assert (
        str(Identifier.parse("public.events")) == str(Identifier("public", "events")) == '"public"."events"'
    )
    assert str(Identifier("public.events")) == '"public.events"'
    assert Identifier.parse(Identifier("a.b")) == Identifier("a.b")
    with pytest.raises(ConfigurationError, match="3 parts"):
        Identifier.parse("db.public.events")
    with pytest.raises(ConfigurationError, match="empty"):
        Identifier.parse("public.")


def test_an_identifier_is_a_value() -> None:
    assert Identifier("a", "b") == Identifier.parse("a.b") != Identifier("a.b")
    assert hash(Identifier("a", "b")) == hash(Identifier.parse("a.b"))
    assert repr(Identifier("a", "b")) == "Identifier('a', 'b')"


@pytest.mark.live
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the server keeps nothing of it
@given(names=st.lists(NAMES, min_size=1, max_size=20))
async def test_the_server_reads_back_every_name(db: Facade, names: list[str]) -> None:
    quoted = [quote_identifier(name) for name in names]

    rows = await db.fetch(
        "SELECT parse_ident(quoted) AS read, quote_ident(name) AS theirs"
        " FROM unnest($1::text[], $2::text[]) AS given (quoted, name)",
        quoted,
        names,
    )

    assert [row["read"] for row in rows] == [[name] for name in names]
    assert all(row["theirs"] in {ours, name} for row, ours, name in zip(rows, quoted, names, strict=True))
