"""RFC 9111, section 4.4: what a successful unsafe request makes doubtful."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.invalidation import changed_by
from sipup_middleware.store.tags import url_tag
from tests.asgi import http_scope

SCOPE = http_scope("/a/b", method="POST", query="x=1")


def paths(*headers: tuple[bytes, bytes], status: int = 200) -> list[str]:
    return changed_by(SCOPE, status, headers)


@pytest.mark.parametrize(("status", "purged"), [(200, 1), (204, 1), (303, 1), (404, 0), (500, 0), (103, 0)])
def test_an_error_purges_nothing(status: int, purged: int) -> None:
    assert len(paths(status=status)) == purged


@pytest.mark.parametrize("name", [b"location", b"Content-Location"])
@pytest.mark.parametrize(
    ("link", "path"),
    [
        (b"/c", "/c"),
        (b"c", "/a/c"),
        (b"?y", "/a/b"),
        (b"http://TestServer/c#f", "/c"),
        (b"http://testserver:80/c", "/c"),
        (b"//testserver/c", "/c"),
        (b" /c ", "/c"),
        (b"http://testserver", "/"),
    ],
)
def test_what_a_link_names_on_the_same_origin_is_purged(name: bytes, link: bytes, path: str) -> None:
    assert paths((name, link)) == [url_tag("/a/b"), url_tag(path)]


@pytest.mark.parametrize(
    "link",
    [
        b"http://other/c",
        b"https://testserver/c",
        b"http://testserver:81/c",
        b"http://[bad/c",
        b"http://h:port/c",
        b"mailto:a@b",
    ],
)
def test_another_origin_or_garbage_purges_nothing_more(link: bytes) -> None:
    assert paths((b"location", link)) == [url_tag("/a/b")]


def test_9112_3_2_2_a_target_in_absolute_form_is_its_path() -> None:
    scope = http_scope("http://testserver/a/b", method="PUT")

    assert changed_by(scope, 200, [(b"location", b"c")]) == [url_tag("/a/b"), url_tag("/a/c")]


def test_9875_3_groups_are_purged_whatever_the_status() -> None:
    line = (b"Cache-Group-Invalidation", b'"a"')

    assert paths(line) == [url_tag("/a/b"), "group:http://testserver a"]
    assert paths(line, status=500) == ["group:http://testserver a"]


def test_a_path_that_looks_like_a_host_is_a_path() -> None:
    scope = http_scope("//evil/products", method="PUT")

    assert changed_by(scope, 200, []) == ["url://evil/products"]


@given(st.binary(), st.binary(max_size=30), st.binary(max_size=30))
def test_no_bytes_raise(link: bytes, path: bytes, host: bytes) -> None:
    scope = http_scope(method="POST") | {"raw_path": b"/" + path, "headers": [(b"host", host)]}

    changed_by(scope, 201, [(b"location", link)])
