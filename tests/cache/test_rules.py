from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache import Rule
from sipup_middleware.cache.rules import forbids, match_rules
from sipup_middleware.errors import ConfigurationError


@pytest.mark.parametrize(
    ("pattern", "path", "covers"),
    [
        ("/products", "/products", True),
        ("/products", "/products/", False),
        ("/products/{id}", "/products/7", True),
        ("/products/{id}", "/products/7/reviews", False),
        ("/products/{id}", "/products/", False),
        ("/me*", "/me", True),
        ("/me*", "/me/orders/7", True),
        ("/a.b", "/axb", False),
        ("*.css", "/static/site.css", True),
        ("/a*b*c", "/a.b.c", True),
        ("/a*b*c", "/a.c.b", False),
        ("/*/p/{id}", "/a/p/b/p/7", True),
        (None, "/anything", True),
    ],
)
def test_a_name_is_one_segment_and_a_star_anything(pattern: str | None, path: str, *, covers: bool) -> None:
    assert (Rule(pattern, ttl=60).match(path) is not None) is covers


@given(st.text("ab*/", max_size=9), st.text("ab/", max_size=12))
def test_any_number_of_stars_covers_what_they_say(pattern: str, path: str) -> None:
    means = re.escape(f"/{pattern}").replace(r"\*", ".*")

    assert (Rule(f"/{pattern}", ttl=1).match(f"/{path}") is None) == (re.fullmatch(means, f"/{path}") is None)


def test_tags_are_filled_from_the_path() -> None:
    match = Rule("/shops/{shop}/products/{id}", ttl=60, tags=("product:{id}", "shop:{shop}", "all")).match(
        "/shops/{id}/products/7"
    )

    assert match is not None
    assert match.tags == ("product:7", "shop:{id}", "all")


def test_the_first_rule_that_matches_counts() -> None:
    first, second = Rule("/products/new", ttl=0), Rule("/products/{id}", ttl=60)

    assert [match.rule for match in match_rules((first, second), "/products/new")] == [first]


def test_rules_of_a_media_type_are_kept_until_it_is_known() -> None:
    html, rest, unreached = Rule(content_type="Text/HTML", ttl=5), Rule("/a*", ttl=9), Rule(ttl=1)

    assert [match.rule for match in match_rules((html, rest, unreached), "/a")] == [html, rest]
    assert html.content_type == "text/html"


@pytest.mark.parametrize(
    ("listed", "query", "allowed"),
    [
        ((), b"", True),
        ((), b"a=1", False),
        (("a", "b c"), b"b%20c=1&a", True),
        (("a", "b c"), b"b+c=1&&a=2&a=3", True),
        (("a",), b"a=1&utm_source=x", False),
        (("a",), b"a=1;b=2", True),
        (("a",), b"a;b=2", False),
        (("a",), b"A=1", False),
        (("a",), b"%ff=1", False),
        (None, b"anything=1", True),
    ],
)
def test_only_listed_parameters_may_be_asked_with(
    listed: tuple[str, ...] | None, query: bytes, *, allowed: bool
) -> None:
    assert Rule("/", ttl=1, query=listed).allows(query) is allowed


def test_a_query_is_forbidden_only_by_the_rule_that_decides_whatever_the_media_type() -> None:
    assert forbids(match_rules((Rule("/", ttl=1),), "/"), b"a=1")
    assert not forbids(match_rules((Rule(content_type="text/html", ttl=1),), "/"), b"a=1")
    assert not forbids((), b"a=1")


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("products", {}),
        ("", {}),
        ("/{}", {}),
        ("/{a-b}", {}),
        ("/{a", {}),
        ("/{a}/{a}", {}),
        ("/", {"ttl": -1}),
        ("/", {"ttl": float("nan")}),
        ("/", {"ttl": float("inf")}),
        ("/", {"ttl": True}),
        ("/", {"stale": -1}),
        ("/", {"query": "page"}),
        ("/", {"tags": "products"}),
        ("/", {"tags": ("product:{id}",)}),
        (None, {"tags": ("product:{id}",)}),
    ],
)
def test_nonsense_is_refused(path: str | None, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"Rule\."):
        Rule(path, **{"ttl": 1, **options})


def test_a_rule_is_a_value() -> None:
    query = ["page"]
    rule = Rule("/", ttl=1, query=query)

    query.append("q")

    assert rule == Rule("/", ttl=1, query=("page",))
    assert hash(rule) == hash(Rule("/", ttl=1, query=("page",)))
