"""The ASGI shell: answer under the health path, measure every other request."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import cached_property

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware.asgi import route_path
from sipup_middleware.context import Context, enter
from sipup_middleware.errors import SipupError
from sipup_middleware.health.access import Access
from sipup_middleware.health.app import Pages, build
from sipup_middleware.health.meter import Meter
from sipup_middleware.telemetry import ErrorUnhandled, Telemetry
from sipup_middleware.telemetry.routes import template

__all__ = ("HealthMiddleware",)

_CLIENT_GONE = 499
_ERROR = 500


class HealthMiddleware:
    """Answers probes itself; counts and times all that passes."""

    def __init__(
        self, app: ASGIApp, *, path: str, access: Access, telemetry: Telemetry, version: str
    ) -> None:
        self.app = app
        self.path = path
        self.telemetry = telemetry
        self._startup = _Startup()
        self._meter = Meter(telemetry)
        self._pages = Pages(
            telemetry, access=access, started=lambda: not self._startup.pending, version=version
        )

    @cached_property
    def pages(self) -> ASGIApp:
        """The sub-app, built when first asked: layers that wrap us may still add their plugins' routes."""
        return build(self._pages, self.telemetry.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                return await self._startup.watch(self.app, scope, receive, send)
            return await self.app(scope, receive, send)

        path: str = route_path(scope) if scope.get("root_path") else scope["path"]
        if path.startswith(self.path):
            rest = path[len(self.path) :]
            if not rest or rest[0] == "/":
                return await self._answer(scope, receive, send, rest or "/")

        if "sipup" in scope:
            return await self._measure(scope, receive, send)
        return await enter(self._measure, scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, rest: str) -> None:
        base = (scope.get("root_path") or "").rstrip("/") + self.path
        inner = {**scope, "root_path": base, "path": base + rest}
        inner.pop("app_root_path", None)  # of a Mount around us: Starlette would make URLs from it
        await self.pages(inner, receive, send)

    async def _measure(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and count it once, whatever its end; the host writes its route into *scope*."""
        meter = self._meter
        root = scope.get("root_path", "")
        status = 0

        def watch(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            return send(message)  # not awaited here: one coroutine a message less

        meter.in_flight += 1
        began = self.telemetry.clock()
        try:
            await self.app(scope, receive, watch)
        except Exception as error:
            if _is_client_gone(error, started=bool(status)):
                status = status or _CLIENT_GONE
            else:
                self._tell(error, scope, root)
            raise
        except BaseException:
            status = status or _CLIENT_GONE
            raise
        finally:
            meter.in_flight -= 1
            route = scope["sipup"].route or template(scope, root)
            meter.record(route, scope["method"], status or _ERROR, began)

    def _tell(self, error: Exception, scope: Scope, root: str) -> None:
        context: Context = scope["sipup"]
        self.telemetry.emit(ErrorUnhandled(type(error).__name__, template(scope, root), context.request_id))


def _is_client_gone(error: Exception, *, started: bool) -> bool:
    """Say whether the app met a closed connection; from ASGI 2.4 on, a server's send then raises OSError."""
    if isinstance(error, ClientDisconnect):
        return True
    return started and isinstance(error, OSError) and not isinstance(error, SipupError)


class _Startup:
    """Whether the app is between the first and the last word of its startup."""

    def __init__(self) -> None:
        self.pending = False

    async def watch(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one lifespan. A host that does not speak it has nothing to wait for."""
        failed = False

        async def watch(message: Message) -> None:
            nonlocal failed
            if message["type"] == "lifespan.startup.complete":
                self.pending = False
            failed = failed or message["type"] == "lifespan.startup.failed"
            await send(message)

        self.pending = True
        try:
            await app(scope, receive, watch)
        finally:
            self.pending = failed
