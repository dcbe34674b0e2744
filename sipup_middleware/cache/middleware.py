"""The ASGI shell of the response cache: answer from the store, or let the app answer and keep a copy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware.asgi import with_headers
from sipup_middleware.cache.capture import Ask, Parts
from sipup_middleware.cache.filling import Filler
from sipup_middleware.cache.invalidation import changed_by
from sipup_middleware.cache.replay import Replay
from sipup_middleware.cache.request import COOKIE, SAFE, Request, check_hosts
from sipup_middleware.cache.response import ResponseControl
from sipup_middleware.cache.rules import Rule, forbids, match_rules
from sipup_middleware.cache.shelf import Found, Shelf
from sipup_middleware.cache.status import CacheStatus
from sipup_middleware.cache.stored import StoredResponse
from sipup_middleware.cache.unstorable import Unstorable
from sipup_middleware.context import Context, enter
from sipup_middleware.lifespan import run_lifespan
from sipup_middleware.store import Store
from sipup_middleware.telemetry import Telemetry

__all__ = ("ResponseCacheMiddleware",)


class ResponseCacheMiddleware:
    """Answers GET and HEAD from *store* where it can; see `ResponseCache` for the options."""

    def __init__(  # noqa: PLR0913 (one a field of the layer)
        self,
        app: ASGIApp,
        *,
        store: Store,
        rules: tuple[Rule, ...],
        allowed_hosts: tuple[str, ...],
        max_entry: int,
        max_variants: int,
        lock: bool,
        name: str | None,
        telemetry: Telemetry,
        clock: Callable[[], float] = time,
    ) -> None:
        self.app = app
        self.store = store
        self.rules = rules
        self.telemetry = telemetry
        self._allows = check_hosts(allowed_hosts)
        self._status = CacheStatus(name)
        self._shelf = Shelf(max_variants=max_variants, clock=clock)
        self._bypassed = telemetry.counter("cache.requests", outcome="bypass")
        hits = telemetry.counter("cache.requests", outcome="hit")
        self._replay = Replay(status=self._status, hits=hits, clock=clock)
        parts = Parts(
            shelf=self._shelf,
            status=self._status,
            stored=telemetry.counter("cache.stored"),
            max_entry=max_entry,
            clock=clock,
        )
        misses = telemetry.counter("cache.requests", outcome="miss")
        self._fill = Filler(app, parts, self._replay, Unstorable(), misses, lock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; a hit needs no more than the store."""
        if scope["type"] == "lifespan":
            return await run_lifespan(self.app, scope, receive, send, resource=self.store.open())
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request: Request | None = None
        found: Found = "uri-miss"
        if scope["method"] in {"GET", "HEAD"}:
            request = Request(scope, self._allows)
            if request.bypass is None:
                found = self._shelf.peek(self.store.handle(), request.key, scope["headers"])
                if type(found) is StoredResponse and not request.flags & found.refuses:
                    return await self._replay(found, request, scope, send)
        forward = partial(self._forward, request, found)
        return await (forward if "sipup" in scope else partial(enter, forward))(scope, receive, send)

    async def _forward(
        self, request: Request | None, found: Found, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Decide what to do about a request that this process has no answer for."""
        context: Context = scope["sipup"]
        if context.tags is not None:  # another response cache around this one keeps the copy
            return await self.app(scope, receive, send)
        context.store = self.store.handle()
        if request is None:
            return await self._pass_method(scope, receive, send)
        if request.bypass is not None:
            return await self._pass(request.bypass, "bypass", scope, receive, send)
        if isinstance(found, StoredResponse):  # and not for this request
            reason = "cookie" if request.flags & found.refuses & COOKIE else "authorization"
            return await self._pass(reason, "bypass", scope, receive, send)
        matches = match_rules(self.rules, scope["path"])
        if forbids(matches, scope["query_string"]):
            return await self._pass("query", "bypass", scope, receive, send)
        return await self._fill(Ask(request, found, matches, context, scope, receive, send))

    async def _pass(self, reason: str, why: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, and store nothing."""
        scope["sipup"].response = ResponseControl(None)
        self._bypassed.add()
        self.telemetry.counter("cache.bypass", reason=reason).add()
        fields = self._status.forwarded(why)
        await self.app(scope, receive, with_headers(send, fields) if fields else send)

    async def _pass_method(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer; what an unsafe request changed is purged before its response starts."""

        async def send_after_purge(message: Message) -> None:
            if message["type"] == "http.response.start":
                tags = changed_by(scope, message["status"], message.get("headers", ()))
                if tags:
                    await scope["sipup"].store.invalidate(tags=tags)
            await send(message)

        safe = scope["method"] in SAFE
        await self._pass("method", "method", scope, receive, send if safe else send_after_purge)
