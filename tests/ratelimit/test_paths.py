from __future__ import annotations

import pytest

from sipup_middleware import ConfigurationError
from sipup_middleware.asgi import route_path
from sipup_middleware.ratelimit.paths import PathTable, check_pattern, is_within
from tests.asgi import http_scope


@pytest.fixture
def table() -> PathTable:
    table = PathTable()
    for bit, pattern in enumerate(["/login", "/users/{id}", "/users/me/", "/users/{id}/orders/{order}", "/"]):
        table.add(pattern, 1 << bit)
    return table


@pytest.mark.parametrize(
    ("path", "bits"),
    [
        ("/login", {0}),
        ("/login/", {0}),
        ("//login", {0}),
        ("/users/7", {1}),
        ("/users/me", {1, 2}),
        ("//users///7/", {1}),
        ("/users/7/orders/8", {3}),
        ("/users", set()),
        ("/users/7/orders", set()),
        ("/Login", set()),
        ("/%6cogin", set()),
        ("/", {4}),
        ("", {4}),
    ],
)
def test_every_pattern_that_matches_counts(table: PathTable, path: str, bits: set[int]) -> None:
    assert table.match(path) == sum(1 << bit for bit in bits)


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [
        ("/login", "", "/login"),
        ("/api/login", "/api", "/login"),
        ("/api/login", "/api/", "/login"),
        ("/api", "/api", ""),
        ("/apilogin", "/api", "/apilogin"),
        ("/login", "/api", "/login"),
    ],
)
def test_a_mounted_app_sees_the_path_below_its_mount(path: str, root: str, below: str) -> None:
    assert route_path(http_scope(path, root_path=root)) == below


@pytest.mark.parametrize(
    ("path", "within"),
    [
        ("/_health", True),
        ("/_health/", True),
        ("/_health/live", True),
        ("/_healthy", False),
        ("/x/_health", False),
        ("/_health/../login", False),
        ("/_health/..", False),
    ],
)
def test_a_prefix_is_of_whole_segments(path: str, *, within: bool) -> None:
    assert is_within(path, "/_health") is within


@pytest.mark.parametrize("pattern", ["login", "/a-{b}", "/{a}{b}", "/{id:int}", "/{}", "/{", "/a}"])
def test_a_pattern_that_cannot_mean_what_it_says_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError):
        check_pattern(pattern)
