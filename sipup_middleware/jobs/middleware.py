"""The ASGI shell of the jobs: a handle for every request, and an answer for outages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware.context import Context, enter
from sipup_middleware.jobs.handle import JobQueue, OpenJobs
from sipup_middleware.jobs.meters import Meters
from sipup_middleware.lifespan import run_lifespan
from sipup_middleware.outage import answer_outages

__all__ = ("JobsMiddleware",)


class JobsMiddleware:
    """Set ``.jobs`` in the context of each request and websocket."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        opened: Callable[[], AbstractAsyncContextManager[JobQueue]],
        queue_of: Callable[[], JobQueue],
        meters: Meters,
    ) -> None:
        self.app = app
        self.opened = opened
        self.queue_of = queue_of
        self.meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "lifespan":
            return await run_lifespan(self.app, scope, receive, send, resource=self.opened())
        if kind not in {"http", "websocket"}:
            return await self.app(scope, receive, send)
        context: Context | None = scope.get("sipup")
        if context is None:
            return await enter(self, scope, receive, send)

        context.jobs = OpenJobs(self.queue_of, self.meters, context=context)
        if kind == "http":
            return await answer_outages(self.app, scope, receive, send)
        return await self.app(scope, receive, send)
