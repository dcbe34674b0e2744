"""What a probe, an operator and a stranger are told."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware import Plugin, Stack
from sipup_middleware.health import Check, Health, Reading
from sipup_middleware.telemetry import Telemetry
from tests.asgi import Exchange, get, hello, http_scope, lifespan, request

SECRETS = ("hunter2", "postgresql://", "db.internal", "Traceback")
PAGES = ("", "/", "/live", "/ready", "/ready/postgres:ping", "/startup", "/metrics")


async def up() -> Reading:
    return Reading(0.8, "ms")


async def down() -> Reading:
    raise ConnectionRefusedError("postgresql://app:hunter2@db.internal/app")


async def hang() -> Reading:
    await anyio.sleep_forever()
    raise AssertionError


def checks(
    postgres: Callable[[], Awaitable[Reading]] = up, store: Callable[[], Awaitable[Reading]] = up
) -> tuple[Check, ...]:
    return Check("postgres:ping", postgres), Check("store:ping", store, critical=False)


async def local(app: ASGIApp, path: str, **scope: Any) -> Exchange:
    return await get(app, path, client="127.0.0.1", **scope)


async def untouchable(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the app was called")


async def test_live_answers_whatever_is_down() -> None:
    app = Health(checks=checks(down, hang))(untouchable)

    reply = await get(app, "/_health/live")

    assert (reply.status, reply.json()) == (200, {"status": "pass"})


@pytest.mark.parametrize("path", ["/_health", "/_health/", "/_health/ready"])
@pytest.mark.parametrize(
    ("postgres", "store", "status", "word"),
    [
        (up, up, 200, "pass"),
        (up, down, 200, "warn"),
        (down, up, 503, "fail"),
        (down, down, 503, "fail"),
    ],
)
async def test_ready_fails_only_for_what_is_critical(
    path: str, postgres: Any, store: Any, status: int, word: str
) -> None:
    reply = await get(Health(checks=checks(postgres, store))(untouchable), path)

    assert (reply.status, reply.json()) == (status, {"status": word})


async def test_a_server_that_hangs_is_a_failure_after_the_check_s_own_time() -> None:
    app = Health(checks=(Check("postgres:ping", hang, timeout=0.05),))(untouchable)

    with anyio.fail_after(5):
        reply = await get(app, "/_health/ready")

    assert (reply.status, reply.json()) == (503, {"status": "fail"})


async def test_a_hundred_at_once_make_one_ping() -> None:
    pings = 0

    async def ping() -> Reading:
        nonlocal pings
        pings += 1
        await anyio.lowlevel.checkpoint()
        return Reading()

    app = Health(checks=checks(ping))(untouchable)
    async with anyio.create_task_group() as probes:
        for _ in range(100):
            probes.start_soon(get, app, "/_health/ready")

    assert pings == 1


async def test_with_access_each_check_tells_its_reading() -> None:
    now = iter([100.0, 112.34])
    telemetry = Telemetry(clock=lambda: next(now, 112.34))
    app = Health(checks=checks(up, down))(untouchable, telemetry=telemetry)

    document = (await local(app, "/_health")).json()

    assert document.pop("version")
    assert document == {
        "status": "warn",
        "uptime_s": 12.3,
        "checks": {
            "postgres:ping": [{"status": "pass", "observedValue": 0.8, "observedUnit": "ms"}],
            "store:ping": [{"status": "fail", "output": "ConnectionRefusedError", "critical": False}],
        },
    }


async def test_checks_of_the_layers_are_asked_too() -> None:
    telemetry = Telemetry()
    app = Health()(untouchable, telemetry=telemetry)
    telemetry.check(Check("postgres:ping", down))

    assert (await get(app, "/_health")).status == 503


async def test_a_check_can_be_left_out() -> None:
    app = Health(checks=checks(down, down))(untouchable)

    reply = await local(app, "/_health/ready", query="exclude=postgres:ping&exclude=nothing")

    assert (reply.status, list(reply.json()["checks"])) == (200, ["store:ping"])


@pytest.mark.parametrize(("name", "status"), [("postgres:ping", 503), ("store:ping", 200), ("nothing", 404)])
async def test_a_check_can_be_asked_alone(name: str, status: int) -> None:
    reply = await get(Health(checks=checks(down, up))(untouchable), f"/_health/ready/{name}")

    assert reply.status == status


async def test_startup_fails_until_the_lifespan_has_started() -> None:
    answers: list[Exchange] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        answers.append(await get(healthy, "/_health/startup"))
        await send({"type": "lifespan.startup.complete"})
        answers.append(await get(healthy, "/_health/startup"))
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    healthy = Health()(app)
    async with lifespan(healthy):
        pass

    assert [(reply.status, reply.json()["status"]) for reply in answers] == [(503, "fail"), (200, "pass")]


async def test_startup_has_nothing_to_wait_for_without_a_lifespan() -> None:
    app = Health()(hello)
    assert (await get(app, "/_health/startup")).status == 200

    with pytest.raises(NotImplementedError):
        await app({"type": "lifespan"}, None, None)  # type: ignore[arg-type]  # hello raises before it reads
    assert (await get(app, "/_health/startup")).status == 200


async def test_startup_stays_failed_when_the_app_could_not_start() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no"})

    async def ignore(message: Any) -> None:
        pass

    healthy = Health()(app)
    await healthy({"type": "lifespan"}, None, ignore)  # type: ignore[arg-type]  # never read

    assert (await get(healthy, "/_health/startup")).status == 503


async def test_metrics_tell_every_section_that_is_there() -> None:
    telemetry = Telemetry()
    telemetry.counter("ratelimit.decisions", decision="allowed").add()
    app = Health()(hello, telemetry=telemetry)
    await get(app)

    reply = await local(app, "/_health/metrics")

    document = reply.json()
    assert reply.headers["content-type"] == "application/json"
    assert list(document) == ["schema", "window_s", "workers", "http", "ratelimit", "system"]
    assert document["http"]["requests_total"] == 1
    assert list(document["system"]) == ["cpu_percent", "rss_bytes", "fds"]


@pytest.mark.parametrize(
    ("token", "status", "challenge"), [(None, 403, None), ("hunter2", 401, 'Bearer realm="health"')]
)
async def test_a_stranger_is_refused_the_metrics(
    token: str | None, status: int, challenge: str | None
) -> None:
    reply = await get(Health(token=token)(untouchable), "/_health/metrics")

    assert (reply.status, reply.headers.get("www-authenticate")) == (status, challenge)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["status"] == status


@pytest.mark.parametrize(
    "options",
    [
        {"client": "127.0.0.1"},
        {"headers": [("Authorization", "Bearer hunter2")]},
        {"headers": [("X-Role", "admin")]},
    ],
    ids=["local", "token", "function"],
)
async def test_whoever_has_access_sees_details_and_metrics(options: dict[str, Any]) -> None:
    rule: Any = "local"
    if "headers" in options and options["headers"][0][0] == "X-Role":
        rule = lambda scope: (b"x-role", b"admin") in scope["headers"]  # noqa: E731 (as a user would write it)
    app = Health(access=rule, token="hunter2", checks=checks())(untouchable)

    assert "checks" in (await get(app, "/_health", **options)).json()
    assert (await get(app, "/_health/metrics", **options)).status == 200


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("client", ["127.0.0.1", "192.0.2.1"])
async def test_no_page_and_no_log_tells_a_secret(
    page: str, client: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="sipup_middleware")
    app = Stack(Health(token="hunter2", checks=checks(down, down)))(untouchable)

    reply = await get(app, f"/_health{page}", client=client)

    said = f"{reply.body!r} {reply.raw_headers} {caplog.text}"
    assert not [secret for secret in SECRETS if secret in said]


@pytest.mark.parametrize("page", PAGES)
async def test_head_is_get_without_a_body(page: str) -> None:
    app = Health(checks=checks())(untouchable)

    whole = await local(app, f"/_health{page}")
    head = await local(app, f"/_health{page}", method="HEAD")

    assert (head.status, head.body) == (whole.status, b"")
    assert int(head.headers["content-length"]) > 0
    assert head.headers["content-type"] == whole.headers["content-type"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
async def test_other_methods_are_not_allowed(page: str, method: str) -> None:
    reply = await request(Health(checks=checks())(untouchable), f"/_health{page}", method=method)

    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
    assert reply.json()["title"] == "Method Not Allowed"


@pytest.mark.parametrize("path", ["/_health/nothing", "/_health/live/", "/_health//live", "/_health/livex"])
async def test_what_is_not_there_is_not_found(path: str) -> None:
    reply = await get(Health()(untouchable), path)

    assert (reply.status, reply.json()["title"]) == (404, "Not Found")


@pytest.mark.parametrize("page", [*PAGES, "/nothing"])
@pytest.mark.parametrize("client", ["127.0.0.1", "192.0.2.1"])
async def test_nothing_here_may_be_stored(page: str, client: str) -> None:
    reply = await get(Health(checks=checks())(untouchable), f"/_health{page}", client=client)

    assert [value for name, value in reply.raw_headers if name == b"cache-control"] == [b"no-store"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/health+json", "application/health+json"),
        ("text/html, application/health+json;q=0.9", "application/health+json"),
        ("*/*", "application/json"),
        ("", "application/json"),
    ],
)
async def test_health_json_is_for_who_asks_for_it(accept: str, content_type: str) -> None:
    reply = await get(Health()(untouchable), "/_health", headers=[("Accept", accept)])

    assert reply.headers["content-type"] == content_type


class Extra(Plugin):
    """Adds a page of its own."""

    def routes(self, telemetry: Telemetry, /) -> list[BaseRoute]:
        async def extra(request: Request) -> PlainTextResponse:
            return PlainTextResponse(
                f"checks: {len(telemetry.checks)}", headers={"cache-control": "max-age=60"}
            )

        return [Route("/extra", extra)]


@pytest.mark.parametrize(
    "stack",
    [
        Stack(Health(token="hunter2", checks=checks()), plugins=[Extra()]),
        Stack(Stack(plugins=[Extra()]), Health(token="hunter2", checks=checks())),
        Stack(Health(token="hunter2", checks=checks()), Stack(plugins=[Extra()])),
    ],
    ids=["same stack", "stack around", "stack within"],
)
async def test_a_plugin_s_page_stands_behind_the_access_check(stack: Stack) -> None:
    app = stack(untouchable)

    reply = await local(app, "/_health/extra")
    assert (reply.body, reply.headers["cache-control"]) == (b"checks: 2", "max-age=60")

    assert (await get(app, "/_health/extra")).status == 401
    assert (await local(app, "/_health/extra", method="POST")).status == 405
    assert (await get(app, "/_health/extra", method="POST")).status == 401


async def test_the_sub_app_sees_its_own_root_and_leaves_the_scope_alone() -> None:
    scope = http_scope("/v1/_health", root_path="/v1", app_root_path="")
    given = dict(scope)
    exchange = Exchange()

    await Health()(untouchable)(scope, exchange.receive, exchange.send)

    assert exchange.status == 200
    assert scope == given
