"""Which methods a limit is for: HEAD is answered by GET's handlers, so it is bounded with them."""

from __future__ import annotations

import pytest

from sipup_middleware import Limit, by_ip
from tests.asgi import hello, request
from tests.ratelimit.doubles import Wrapped, wrap


def bounded(*methods: str) -> Wrapped:
    return wrap(hello, Limit("2/minute", key=by_ip, methods=methods, strategy="fixed"))


async def statuses(wrapped: Wrapped, *methods: str) -> list[int]:
    return [(await request(wrapped.app, method=method)).status for method in methods]


@pytest.mark.parametrize("methods", [("GET",), ("get", "POST"), ("HEAD", "GET")])
async def test_a_limit_for_get_counts_head_with_it(methods: tuple[str, ...]) -> None:
    wrapped = bounded(*methods)

    seen = await statuses(wrapped, "HEAD", "GET", "HEAD", "GET", "PUT")

    assert seen == [200, 200, 429, 429, 200]


async def test_a_limit_for_head_is_for_head_alone() -> None:
    assert await statuses(bounded("HEAD"), *["HEAD"] * 3, "GET") == [200, 200, 429, 200]


async def test_a_limit_for_post_leaves_head_alone() -> None:
    assert await statuses(bounded("POST"), *["POST"] * 3, "HEAD") == [200, 200, 429, 200]
