"""The pages under the health path, as a small Starlette app."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import orjson
from anyio import CapacityLimiter, create_task_group, move_on_after, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware.asgi import Problem, header
from sipup_middleware.context import Context
from sipup_middleware.health import metrics, system
from sipup_middleware.health.access import Access
from sipup_middleware.health.readiness import Readiness, verdict
from sipup_middleware.telemetry import Report, Telemetry

__all__ = ("Pages", "build")

_PATIENCE = 1.0
"""Seconds that a server has to tell its section of the metrics."""

_HEALTH_JSON = "application/health+json"
_FORBIDDEN = Problem(status=403, title="Forbidden")
_UNAUTHORIZED = Problem(
    status=401, title="Unauthorized", headers=((b"www-authenticate", b'Bearer realm="health"'),)
)


class Pages:
    """What the pages say."""

    def __init__(
        self, telemetry: Telemetry, *, access: Access, started: Callable[[], bool], version: str
    ) -> None:
        self.access = access
        self._telemetry = telemetry
        self._started = started
        self._version = version
        self._readiness = Readiness(telemetry)
        self._cpu = system.CPU(telemetry.clock)

    async def live(self, request: Request) -> Response:
        """Answer: that it can is the answer."""
        return _answer(request, {"status": "pass"})

    async def startup(self, request: Request) -> Response:
        """Say whether the app's lifespan has started."""
        return _answer(request, {"status": "pass" if self._started() else "fail"})

    async def ready(self, request: Request) -> Response:
        """Say whether this process can do its work, asking every check but the excluded."""
        excluded = request.query_params.getlist("exclude")
        return await self._ask(request, *(name for name in self._readiness.names if name not in excluded))

    async def ready_one(self, request: Request) -> Response:
        """Say the same of one check alone."""
        name = request.path_params["check"]
        if name not in self._readiness.names:
            raise HTTPException(404)
        return await self._ask(request, name)

    async def metrics(self, request: Request) -> Response:
        """Tell the numbers."""
        if not self.access.allows(request.scope):
            return _no_access(self.access)
        usage = {"cpu_percent": round(self._cpu.percent(), 1), **await _read_usage()}
        reports = await _read_reports(self._telemetry.reports)
        return _json(metrics.document(self._telemetry, system=usage, reports=reports))

    async def _ask(self, request: Request, *names: str) -> Response:
        outcomes = await self._readiness.ask(names)
        shown: dict[str, Any] = {"status": verdict(outcomes.values())}
        if self.access.allows(request.scope):
            shown["version"] = self._version
            shown["uptime_s"] = round(self._telemetry.clock() - self._telemetry.started, 1)
            shown["checks"] = {name: [outcome.document()] for name, outcome in outcomes.items()}
        return _answer(request, shown)


def build(pages: Pages, plugins: list[BaseRoute]) -> ASGIApp:
    """Join *pages* and what *plugins* serve, which stands behind the access check."""
    app = Starlette(
        routes=[
            Route("/", pages.ready),
            Route("/live", pages.live),
            Route("/ready", pages.ready),
            Route("/ready/{check:path}", pages.ready_one),
            Route("/startup", pages.startup),
            Route("/metrics", pages.metrics),
            *(_Guarded(route, pages.access) for route in plugins),
        ],
        exception_handlers={HTTPException: _refuse},
    )
    app.router.redirect_slashes = False

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, _plain(scope, send))

    return answer


class _Guarded(BaseRoute):
    """A plugin's route, for those who have access."""

    def __init__(self, route: BaseRoute, access: Access) -> None:
        self._route = route
        self._access = access

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return self._route.matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = self._access.allows(scope)
        await (self._route.handle if allowed else _no_access(self._access))(scope, receive, send)


class _Refusal(Response):
    """A problem document in place of a page."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (ASGI)
        await self._problem.send(scope, send, instance=Context(scope).request_id)


def _no_access(access: Access) -> Response:
    """Refuse with 401 where a token would open the page, else with 403."""
    return _Refusal(_FORBIDDEN if access.token is None else _UNAUTHORIZED)


def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (what it is registered for)
    headers = {**(error.headers or {})}
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))  # Starlette joins a set
    encoded = tuple((name.lower().encode(), value.encode()) for name, value in headers.items())
    return _Refusal(
        Problem(status=error.status_code, title=HTTPStatus(error.status_code).phrase, headers=encoded)
    )


def _answer(request: Request, shown: dict[str, Any]) -> Response:
    asked_for = _HEALTH_JSON in (header(request.scope, b"accept") or b"").decode("latin-1")
    media_type = _HEALTH_JSON if asked_for else "application/json"
    return _json(shown, status=503 if shown["status"] == "fail" else 200, media_type=media_type)


def _json(shown: object, *, status: int = 200, media_type: str = "application/json") -> Response:
    return Response(orjson.dumps(shown), status, media_type=media_type)


async def _read_usage() -> dict[str, int | None]:
    """Read the process's files, in a thread of its own: the host's threads may all be busy."""

    def read() -> dict[str, int | None]:
        return {"rss_bytes": system.rss_bytes(), "fds": system.fds()}

    return await to_thread.run_sync(read, limiter=CapacityLimiter(1))


async def _read_reports(reports: Mapping[str, Report]) -> dict[str, dict[str, Any] | None]:
    """Ask every server at once; None for one that does not answer in time."""
    told: dict[str, dict[str, Any] | None] = dict.fromkeys(reports)

    async def ask(section: str, read: Report) -> None:
        with move_on_after(_PATIENCE), suppress(Exception):
            told[section] = await read()

    async with create_task_group() as tasks:
        for section, read in reports.items():
            tasks.start_soon(ask, section, read)
    return told


def _plain(scope: Scope, send: Send) -> Send:
    """Wrap *send*: nobody may store a page unless it says so itself, and HEAD gets no body."""

    async def send_plain(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not any(name.lower() == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        elif scope["method"] == "HEAD":
            message = {**message, "body": b""}
        await send(message)

    return send_plain
