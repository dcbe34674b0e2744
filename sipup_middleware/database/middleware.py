"""The ASGI shell of the database: a facade for every request, and an answer for outages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware.context import Context, enter
from sipup_middleware.database.disconnect import Client
from sipup_middleware.database.facade import Facade
from sipup_middleware.database.meters import Meters
from sipup_middleware.database.pool import Pool
from sipup_middleware.lifespan import run_lifespan
from sipup_middleware.outage import answer_outages

__all__ = ("DatabaseMiddleware",)


class DatabaseMiddleware:
    """Set ``.db`` in the context of each request and websocket; no connection is borrowed for it."""

    def __init__(  # noqa: PLR0913 (what the layer says of each request)
        self,
        app: ASGIApp,
        *,
        opened: Callable[[], AbstractAsyncContextManager[Pool]],
        pool_of: Callable[[], Pool],
        meters: Meters,
        deadline: float | None = None,
        cancel_on_disconnect: bool = False,
    ) -> None:
        self.app = app
        self.opened = opened
        self.pool_of = pool_of
        self.meters = meters
        self.deadline = deadline
        self.cancel_on_disconnect = cancel_on_disconnect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "lifespan":
            return await run_lifespan(self.app, scope, receive, send, resource=self._open())
        if kind not in {"http", "websocket"}:
            return await self.app(scope, receive, send)
        context: Context | None = scope.get("sipup")
        if context is None:
            return await enter(self, scope, receive, send)

        context.db = facade = Facade(self.pool_of, self.meters, context)
        facade.scope = scope
        try:
            if kind == "http":
                return await self._serve_http(facade, scope, receive, send)
            return await self.app(scope, receive, send)
        finally:
            facade.scope = None  # they point at each other, and are many
            if facade.holds:
                facade.end()

    async def _serve_http(self, facade: Facade, scope: Scope, receive: Receive, send: Send) -> None:
        if self.deadline is not None:
            facade.deadline(self.deadline)
        if not self.cancel_on_disconnect:
            return await answer_outages(self.app, scope, receive, send)
        client = facade.client = Client(receive, send)
        try:
            return await answer_outages(self.app, scope, client.receive, client.send)
        finally:
            client.close()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with self.opened() as pool:
            self.meters.look(pool)
            yield
