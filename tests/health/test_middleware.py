"""The shell: what is not its own passes untouched and is counted once, whatever its end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware import Stack
from sipup_middleware.health import Health
from sipup_middleware.telemetry import ErrorUnhandled, Fact, Telemetry
from tests.asgi import get, hello, http_scope, lifespan, request

START = {"type": "http.response.start", "status": 200, "headers": []}


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def counted(telemetry: Telemetry) -> dict[str, int]:
    """``"GET /a 2xx"`` and how often."""
    return {
        f"{labels['method']} {labels['route']} {labels['status']}": made.count
        for labels, made in telemetry.histograms("http.duration")
    }


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("page")


async def fail(request: Request) -> PlainTextResponse:
    raise KeyError("secret")


@pytest.mark.parametrize("kind", ["websocket", "webtransport"])
async def test_other_scopes_pass_untouched(kind: str) -> None:
    seen = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    scope, receive, send = {"type": kind, "path": "/_health"}, object(), object()
    await Health()(inner)(scope, receive, send)  # type: ignore[arg-type]

    assert seen == [(scope, receive, send)]
    assert seen[0][0] is scope


async def test_the_outermost_makes_the_context_and_an_inner_layer_copies_nothing() -> None:
    seen: list[Scope] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await hello(scope, receive, send)

    given = http_scope()
    await get(Health()(Health()(inner)))
    await get(Health()(inner), **{key: given[key] for key in ("scheme",)})

    assert all(scope["state"]["sipup"] is scope["sipup"] for scope in seen)


@pytest.mark.parametrize("path", ["/_healthx", "/_health.json", "/x/_health", "/_healt", "/"])
async def test_other_paths_go_to_the_app(path: str) -> None:
    reply = await get(Health()(hello), path)

    assert reply.chunks == [b"hel", b"lo"]


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("/v1", "/v1/_health/live"),
        ("/v1/", "/v1/_health/live"),
        ("/v1", "/_health/live"),
        ("/", "/_health/live"),
        ("/_health", "/_health/_health/live"),
    ],
)
async def test_the_path_is_compared_after_the_root_path(root: str, path: str) -> None:
    assert (await get(Health()(hello), path, root_path=root)).json() == {"status": "pass"}


@pytest.mark.parametrize("path", ["/v1/_healthx", "/v2/_health/live"])
async def test_under_a_root_path_other_paths_still_go_to_the_app(path: str) -> None:
    assert (await get(Health()(hello), path, root_path="/v1")).body == b"hello"


async def test_it_is_found_inside_a_mount() -> None:
    app = Starlette(routes=[Mount("/inner", app=Health()(hello))])

    assert (await get(app, "/inner/_health/live")).json() == {"status": "pass"}


async def test_its_own_pages_are_not_counted() -> None:
    telemetry = Telemetry()
    app = Health()(hello, telemetry=telemetry)

    for path in ("/_health", "/_health/metrics", "/_health/nothing"):
        await get(app, path, client="127.0.0.1")

    assert counted(telemetry) == {}


async def test_a_request_is_in_flight_until_its_last_byte_and_timed_to_there() -> None:
    clock = Clock()
    telemetry = Telemetry(clock=clock)
    seen: list[float] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for _ in range(3):
            clock.now += 1
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        seen.extend(value for _, value in telemetry.gauges("http.in_flight"))
        await send({"type": "http.response.body"})

    await get(Health()(slow, telemetry=telemetry))

    assert seen == [1]
    assert [value for _, value in telemetry.gauges("http.in_flight")] == [0]
    assert [made.total for _, made in telemetry.histograms("http.duration")] == [3]


async def test_a_stream_counts_once() -> None:
    async def stream(request: Request) -> StreamingResponse:
        async def chunks() -> Any:
            for _ in range(5):
                yield b"x"

        return StreamingResponse(chunks())

    telemetry = Telemetry()
    reply = await get(Health()(Starlette(routes=[Route("/stream", stream)]), telemetry=telemetry), "/stream")

    assert reply.body == b"xxxxx"
    assert counted(telemetry) == {"GET /stream 2xx": 1}


async def bare_failure(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError("secret")


async def failure_on_the_way(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    raise KeyError("secret")


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (bare_failure, "GET __unmatched__ 5xx"),
        (failure_on_the_way, "GET __unmatched__ 2xx"),
        (Starlette(routes=[Route("/", fail)]), "GET / 5xx"),
    ],
    ids=["bare", "on the way", "starlette"],
)
async def test_an_exception_counts_once_and_is_told_of_once(app: ASGIApp, expected: str) -> None:
    heard: list[Fact] = []
    telemetry = Telemetry([heard.append])
    trace = "0123456789abcdef" * 2

    with pytest.raises(KeyError):
        await get(
            Health()(app, telemetry=telemetry), headers=[("traceparent", f"00-{trace}-{trace[:16]}-01")]
        )

    assert counted(telemetry) == {expected: 1}
    assert heard == [ErrorUnhandled("KeyError", expected.split()[1], trace)]


async def test_an_app_that_says_nothing_counts_as_an_error() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async def nothing(message: Any) -> None:
        raise AssertionError(message)

    telemetry = Telemetry()
    await Health()(silent, telemetry=telemetry)(http_scope(), nothing, nothing)  # type: ignore[arg-type]

    assert counted(telemetry) == {"GET __unmatched__ 5xx": 1}


@pytest.mark.parametrize(
    ("gone", "started", "expected"),
    [
        (ClientDisconnect(), False, "GET __unmatched__ 4xx"),
        (ClientDisconnect(), True, "GET __unmatched__ 2xx"),
        (ConnectionResetError(), True, "GET __unmatched__ 2xx"),
    ],
)
async def test_a_client_that_left_counts_once_and_is_no_error(
    gone: Exception,
    started: bool,  # noqa: FBT001 (a column of the table)
    expected: str,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if started:
            await send(START)
        raise gone

    heard: list[Fact] = []
    telemetry = Telemetry([heard.append])
    with pytest.raises(type(gone)):
        await get(Health()(app, telemetry=telemetry))

    assert counted(telemetry) == {expected: 1}
    assert heard == []


async def test_a_server_that_cancels_a_request_has_it_counted_once() -> None:
    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep_forever()

    telemetry = Telemetry()
    app = Health()(hang, telemetry=telemetry)
    async with anyio.create_task_group() as server:
        server.start_soon(get, app)
        await anyio.wait_all_tasks_blocked()
        server.cancel_scope.cancel()

    assert counted(telemetry) == {"GET __unmatched__ 4xx": 1}
    assert [value for _, value in telemetry.gauges("http.in_flight")] == [0]


async def test_thousands_of_paths_that_nobody_serves_are_one_series() -> None:
    telemetry = Telemetry()
    app = Health()(Starlette(routes=[Route("/items/{id}", page)]), telemetry=telemetry)

    for number in range(2000):
        await get(app, f"/{number}.php")
    await get(app, "/items/1")

    assert counted(telemetry) == {"GET __unmatched__ 4xx": 2000, "GET /items/{id} 2xx": 1}


def starlette(stack: Stack) -> ASGIApp:
    app = Starlette(routes=[Route("/items/{id}", page)])
    app.add_middleware(stack)
    return app


def fastapi(stack: Stack) -> ASGIApp:
    async def item() -> str:
        return "item"

    app = FastAPI()
    app.add_api_route("/items/{id}", item)
    app.add_middleware(stack)
    return app


def bare(stack: Stack) -> ASGIApp:
    return stack(hello)


@pytest.mark.parametrize(
    ("host", "route"), [(starlette, "/items/{id}"), (fastapi, "/items/{id}"), (bare, "__unmatched__")]
)
@pytest.mark.parametrize("with_lifespan", [True, False], ids=["lifespan", "no lifespan"])
async def test_it_works_in_a_stack_on_every_host(
    host: Any,
    route: str,
    with_lifespan: bool,  # noqa: FBT001 (a column of the table)
) -> None:
    app = host(Stack(Health()))

    async def ask() -> Any:
        await get(app, "/items/1")
        assert (await get(app, "/_health/startup")).status == 200
        return (await get(app, "/_health/metrics", client="127.0.0.1")).json()

    if with_lifespan and host is not bare:
        async with lifespan(app):
            numbers = await ask()
    else:
        numbers = await ask()

    assert [(each["route"], each["count"]) for each in numbers["http"]["routes"]] == [(route, 1)]


async def test_two_apps_do_not_share_counters() -> None:
    health = Stack(Health())
    one, other = health(hello), health(hello)

    await get(one)

    totals = [
        (await get(app, "/_health/metrics", client="127.0.0.1")).json()["http"]["requests_total"]
        for app in (one, other)
    ]
    assert totals == [1, 0]


async def test_an_unhandled_error_is_logged_once_without_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(KeyError):
        await request(Stack(Health())(bare_failure))

    lines = [line for name, level, line in caplog.record_tuples if name == "sipup_middleware"]
    assert len(lines) == 1
    assert lines[0].startswith("unhandled KeyError in __unmatched__ (request ")
    assert caplog.records[0].levelno == logging.ERROR
