from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store.stamps import Stamps
from sipup_middleware.store.tags import TagSet, prefix_tag, url_tag, url_tags
from tests.store.doubles import Clock


def test_a_tag_may_be_added_while_the_thing_is_made() -> None:
    clock = Clock()
    stamps = Stamps(clock=clock)
    stamps.purge([stamps.cell("product:7")])
    clock.now += 1
    tags = TagSet(stamps, "products")

    tags.add("product:7", "product:8")

    assert tags.seal()


def test_a_tag_purged_since_the_making_began_comes_too_late() -> None:
    clock = Clock()
    stamps = Stamps(clock=clock)
    tags = TagSet(stamps, "products")
    clock.now += 0.001
    stamps.purge([stamps.cell("product:7")])

    tags.add("product:7")

    assert tags.seal() is None


def test_a_tag_purged_in_the_very_instant_the_making_began_counts_as_too_late() -> None:
    stamps = Stamps(clock=Clock())
    tags = TagSet(stamps)
    stamps.purge([stamps.cell("product:7")])

    tags.add("product:7")

    assert tags.seal() is None


def test_a_tag_purged_after_it_was_added_ends_the_thing() -> None:
    stamps = Stamps()
    tags = TagSet(stamps, "products")
    stamps.purge([stamps.cell("products")])

    tags.add("products")

    assert tags.seal() is None


def test_a_purge_of_something_else_costs_one_look_and_ends_nothing() -> None:
    stamps = Stamps()
    seal = TagSet(stamps, "products").seal()
    assert seal
    before = seal.purges

    stamps.purge([stamps.cell("orders")])

    assert seal.holds(stamps)
    assert seal.purges != before, "what it was checked against is remembered"


def test_a_response_is_found_by_its_url_and_by_every_directory_above_it() -> None:
    assert url_tags("/products/7", "page=2") == (
        "url:/products/7",
        "url:/products/7?page=2",
        "under:/",
        "under:/products/",
    )


@pytest.mark.parametrize(
    ("path", "query", "url"),
    [
        ("/products", "page=2", "/products"),
        ("/products", "page=2", "/products?page=2"),
        ("/products", "", "http://any.host/products#top"),
        ("/", "", "http://any.host"),
        ("/café", "", "/caf%C3%A9"),
        ("/caf%C3%A9", "", "/café"),
        ("/100%25", "", "/100%2525"),
        ("http://any.host/products", "page=2", "/products"),
        ("http://any.host", "", "/"),
        ("/a://b", "", "/a://b"),
    ],
)
def test_a_url_purges_its_responses_however_it_is_written(path: str, query: str, url: str) -> None:
    assert url_tag(url) in url_tags(path, query)


@pytest.mark.parametrize(
    ("path", "url"), [("/products", "/products?page=2"), ("/products/7", "/products"), ("/a", "/a/")]
)
def test_a_url_purges_no_other(path: str, url: str) -> None:
    assert url_tag(url) not in url_tags(path)


@pytest.mark.parametrize("prefix", ["/", "/a/", "/a/b/"])
def test_a_prefix_purges_what_is_below_it(prefix: str) -> None:
    assert prefix_tag(prefix) in url_tags("/a/b/c")
    assert prefix_tag(prefix) in url_tags("/a/b/")


@pytest.mark.parametrize("path", ["/a", "/ab/c", "/"])
def test_a_prefix_ends_at_a_segment(path: str) -> None:
    assert prefix_tag("/a/") not in url_tags(path)


@given(st.lists(st.text("ab%/", max_size=3), max_size=12).map(lambda names: "/" + "/".join(names)))
def test_any_directory_above_a_path_purges_it_and_the_tags_are_bounded(path: str) -> None:
    tags = url_tags(path, "q")

    assert len(tags) <= 2 + 9
    for end in (at + 1 for at, letter in enumerate(path) if letter == "/"):
        assert prefix_tag(path[:end]) in tags


@pytest.mark.parametrize("prefix", ["", "/products", "products/"])
def test_a_prefix_that_is_no_directory_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="begins and ends"):
        prefix_tag(prefix)
