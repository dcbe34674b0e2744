"""A URL never shows its password, and two spellings of one database are one."""

from __future__ import annotations

from string import ascii_letters, digits
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.urls import database_of, masked

PASSWORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20
).map(lambda text: f"secret{text}secret")
NAMES = st.text(ascii_letters + digits, min_size=1, max_size=8)


@given(NAMES, PASSWORDS, st.booleans())
def test_the_password_never_shows(user: str, password: str, escaped: bool) -> None:  # noqa: FBT001 (drawn)
    written = quote(password, safe="") if escaped else password

    for url in (
        f"postgresql://{user}:{written}@db:5432/app?sslmode=require",
        f"redis://:{written}@cache:6379/0",
        f"redis://cache:6379/0?password={quote(password, safe='')}&db=1",
        f"postgresql:///app?user={user}&password={quote(password, safe='')}&host=db",
    ):
        assert "secret" not in masked(url), url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://app:hush@db:5432/app", "postgresql://app:***@db:5432/app"),
        ("postgresql://app@db/app", "postgresql://app@db/app"),
        ("postgresql://app:a/b@c?d@db/app", "postgresql://app:***@db/app"),
        ("redis://:hush@cache", "redis://:***@cache"),
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("unix:///run/valkey.sock?db=0&password=hush", "unix:///run/valkey.sock?db=0&password=***"),
        ("postgresql:///a?host=/run&port=5&sslkey=k", "postgresql:///a?host=/run&port=5&sslkey=***"),
        ("memory://", "memory://"),
        ("", ""),
    ],
)
def test_what_is_no_secret_stays_readable(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("postgresql://app:one@db/shop", "postgres://other:two@db:5432/shop"),
        ("postgresql://app@DB/shop", "postgresql://app@db/shop?application_name=worker"),
        ("postgresql://app@db/shop", "postgresql:///shop?host=db&user=app"),
        ("postgresql://app@db/shop", "postgresql://app@/?host=db&dbname=shop&port=5432"),
        ("postgresql://shop@db", "postgresql://shop@db/shop"),
        ("postgresql:///shop?host=%2Frun%2Fpg", "postgresql://x@%2Frun%2Fpg/shop"),
        ("postgresql://app@/shop", "postgresql://app@localhost/shop"),
    ],
)
def test_two_spellings_of_one_database_are_equal(one: str, same: str) -> None:
    assert database_of(one) == database_of(same)


@pytest.mark.parametrize(
    "other",
    [
        "postgresql://app@db/stock",
        "postgresql://app@db2/shop",
        "postgresql://app@db:5433/shop",
        "postgresql://app@/shop?host=db&port=5433",
        "postgresql://app@db,db2/shop",
    ],
)
def test_another_database_is_another(other: str) -> None:
    assert database_of(other) != database_of("postgresql://app@db/shop")


@given(NAMES, NAMES, st.integers(1, 65535), PASSWORDS)
def test_who_connects_does_not_matter(host: str, name: str, port: int, password: str) -> None:
    secret = quote(password, safe="")

    assert (
        database_of(f"postgresql://one:{secret}@{host}:{port}/{name}")
        == database_of(f"postgres://two@{host}:{port}/{name}?sslmode=require")
        == database_of(f"postgresql:///{name}?host={host}&port={port}&password={secret}")
        == (host.lower(), str(port), name)
    )
