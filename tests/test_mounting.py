"""One stack, every way to mount it: by hand, by Starlette, by FastAPI, under CORS, without lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from sipup_middleware import Health, Limit, RateLimit, ResponseCache, Rule, Stack, by_ip
from tests.asgi import get, hello, lifespan

ORIGIN = ("origin", "https://shop.example")


def new_stack(*, rate: str = "100/minute") -> Stack:
    return Stack(
        Health(), RateLimit(limits=(Limit(rate, key=by_ip),)), ResponseCache(rules=(Rule("/hello", ttl=60),))
    )


class Handler:
    """Counts how often the app itself was asked."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, request: Request) -> PlainTextResponse:
        self.calls += 1
        assert request.state.sipup.request_id
        return PlainTextResponse("hello")


def by_hand(stack: Stack, handler: Handler) -> ASGIApp:
    return stack(Starlette(routes=[Route("/hello", handler.__call__)]))


def by_starlettes_list(stack: Stack, handler: Handler) -> ASGIApp:
    return Starlette(routes=[Route("/hello", handler.__call__)], middleware=[Middleware(stack)])


def by_starlettes_method(stack: Stack, handler: Handler) -> ASGIApp:
    app = Starlette(routes=[Route("/hello", handler.__call__)])
    app.add_middleware(stack)
    return app


def by_fastapi(stack: Stack, handler: Handler) -> ASGIApp:
    app = FastAPI()
    app.add_api_route("/hello", handler.__call__, response_class=PlainTextResponse)
    app.add_middleware(stack)
    return app


Mount = Callable[[Stack, Handler], ASGIApp]
MOUNTS: list[Mount] = [by_hand, by_starlettes_list, by_starlettes_method, by_fastapi]


@pytest.fixture(params=MOUNTS)
def mount(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_every_mount_serves_and_caches_with_and_without_lifespan(mount: Mount) -> None:
    handler = Handler()
    app = mount(new_stack(), handler)

    before = await get(app, "/hello")
    async with lifespan(app):
        during = await get(app, "/hello")
    after = await get(app, "/hello")

    assert [reply.body for reply in (before, during, after)] == [b"hello"] * 3
    assert handler.calls == 1


async def test_every_mount_limits_and_answers_health(mount: Mount) -> None:
    app = mount(new_stack(rate="1/hour"), Handler())

    statuses = [(await get(app, "/hello")).status for _ in range(2)]
    live = await get(app, "/_health/live")

    assert (statuses, live.status) == ([200, 429], 200)


def test_every_mount_serves_on_a_new_loop_a_request(mount: Mount) -> None:
    handler = Handler()
    app = mount(new_stack(), handler)

    bodies = [asyncio.run(get(app, "/hello")).body for _ in range(3)]

    assert bodies == [b"hello"] * 3
    assert handler.calls == 1


@pytest.mark.parametrize("host", [Starlette, FastAPI])
async def test_cors_outside_the_stack_stands_on_refusals_and_on_hits(host: type[Starlette]) -> None:
    app = host()
    app.add_route("/hello", Handler().__call__)
    app.add_middleware(new_stack(rate="2/hour"))
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"])

    miss, hit, refused = [await get(app, "/hello", headers=[ORIGIN]) for _ in range(3)]

    assert [reply.status for reply in (miss, hit, refused)] == [200, 200, 429]
    assert "hit" in hit.headers["cache-status"]
    for reply in (miss, hit, refused):
        assert reply.headers["access-control-allow-origin"] == "https://shop.example"


async def test_a_bare_app_without_lifespan_is_kept_up_by_the_stack() -> None:
    app = new_stack()(hello)

    async with lifespan(app):
        assert (await get(app, "/hello")).body == b"hello"


async def test_the_same_stack_wraps_two_apps_with_the_same_state() -> None:
    stack = new_stack(rate="1/hour")
    one, other = stack(hello), stack(hello)

    first, second = await get(one, "/hello"), await get(other, "/hello")

    assert (first.status, second.status) == (200, 429)
