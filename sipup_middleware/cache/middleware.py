"""The ASGI shell of the response cache: answer from the store, or let the app answer and keep a copy."""

from __future__ import annotations

from collections.abc import Callable
from time import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware.asgi import route_path
from sipup_middleware.cache.answer import Kinds
from sipup_middleware.cache.asking import Ask, Parts
from sipup_middleware.cache.client import Wish, read_wish
from sipup_middleware.cache.filling import Filler
from sipup_middleware.cache.invalidation import changed_by
from sipup_middleware.cache.passing import marked
from sipup_middleware.cache.policy import House
from sipup_middleware.cache.replay import replay
from sipup_middleware.cache.request import (
    ADVICE,
    CONDITIONAL,
    COOKIE,
    RANGE,
    SAFE,
    Request,
    VaryKey,
    check_hosts,
)
from sipup_middleware.cache.response import ResponseControl
from sipup_middleware.cache.rules import Rule, forbids, match_rules
from sipup_middleware.cache.shelf import Found, Shelf
from sipup_middleware.cache.status import CacheStatus
from sipup_middleware.cache.stored import StoredResponse
from sipup_middleware.cache.verifying import Comparison, Verifier
from sipup_middleware.context import Context, begin, end
from sipup_middleware.lifespan import run_lifespan
from sipup_middleware.store import Store
from sipup_middleware.telemetry import Telemetry

__all__ = ("ResponseCacheMiddleware",)

_ANSWERED = frozenset({"GET", "HEAD"})


class ResponseCacheMiddleware:
    """Answers GET and HEAD from *store* where it can; see `ResponseCache` for the options."""

    def __init__(  # noqa: PLR0913 (one a field of the layer)
        self,
        app: ASGIApp,
        *,
        store: Store,
        rules: tuple[Rule, ...] = (),
        target: str | None = None,
        vary_key: VaryKey | None = None,
        allowed_hosts: tuple[str, ...] = ("*",),
        house: House,
        honors_clients: bool = False,
        max_entry: int,
        max_variants: int,
        lock: bool = True,
        name: str | None,
        verifier: Verifier | None = None,
        telemetry: Telemetry,
        clock: Callable[[], float] = time,
    ) -> None:
        self.app = app
        self.store = store
        self.rules = rules
        self.telemetry = telemetry
        self._allows = check_hosts(allowed_hosts)
        self._vary_key = vary_key
        self._advised = ADVICE if honors_clients else 0
        self._clock = clock
        self._parts = parts = Parts(
            shelf=Shelf(max_variants=max_variants, clock=clock),
            status=CacheStatus(name),
            house=house,
            kinds=Kinds(None if target is None else target.lower().encode()),
            max_entry=max_entry,
            telemetry=telemetry,
            clock=clock,
        )
        self._verifier = verifier
        self._bypassed = telemetry.counter("cache.requests", outcome="bypass")
        self._fill = Filler(app, parts, lock=lock and (verifier is None or not verifier.shadows))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; a hit needs no more than the store."""
        if scope["type"] != "http":
            return await self._pass_other(scope, receive, send)
        request: Request | None = None
        found: Found = "uri-miss"
        if scope["method"] in _ANSWERED:
            request = Request(scope, self._allows, self._vary_key)
            if request.bypass is None:
                found = self._parts.shelf.peek(self.store.handle(), request.key, scope["headers"])
                if type(found) is StoredResponse and not request.flags & (found.refuses | self._advised):
                    age = self._clock() - found.born
                    if age < found.lifetime and not self._compares(request):
                        return await self._hit(found, age, request.flags, scope, send)
        if "sipup" in scope:
            return await self._forward(request, found, scope, receive, send)
        inner, token = begin(scope)
        try:
            return await self._forward(request, found, inner, receive, send)
        finally:
            end(token)

    def _compares(self, request: Request) -> bool:
        """Say whether the app is to answer though this is a hit."""
        if self._verifier is None:
            return False
        request.compares = self._verifier.picks()
        return request.compares

    async def _hit(self, stored: StoredResponse, age: float, flags: int, scope: Scope, send: Send) -> None:
        parts = self._parts
        parts.hits.add()
        if age < 0:  # the clock went back
            age = 0.0
        await replay(stored, flags, parts.status.hit(age, stored.lifetime - age), scope, send)

    async def _forward(
        self, request: Request | None, found: Found, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Decide what to do about a request that this process does not answer at once."""
        context: Context = scope["sipup"]
        if context.tags is not None:  # another response cache around this one keeps the copy
            return await self.app(scope, receive, send)
        context.store = self.store.handle()
        if request is None:
            return await self._pass_method(scope, receive, send)
        reason = request.bypass or _refused(request, found)
        matches = match_rules(self.rules, route_path(scope)) if self.rules and reason is None else ()
        if reason is None and forbids(matches, scope["query_string"]):
            reason = "query"
        if reason is not None:
            return await self._pass(reason, "bypass", scope, receive, send)
        ask = Ask(self._parts, request, matches, scope, receive, send)
        if request.flags & self._advised:
            ask.wish = _wish_of(scope)
        ask.meet(found)
        if self._verifier is not None and (request.compares or self._verifier.shadows):
            return await self._verify(self._verifier, ask)
        return await self._fill(ask)

    async def _verify(self, verifier: Verifier, ask: Ask) -> None:
        """Let the app answer; where the store could have, compare, else store what it answers."""
        stored, scope, send = ask.stale, ask.scope, ask.send
        if stored is None or ask.use != "send":
            ask.stale = None
            return await self._fill.fetch(ask)
        if scope["method"] == "GET" and not ask.request.flags & (CONDITIONAL | RANGE):
            forget = None if verifier.shadows else ask.forget  # in the shadow each hit that was wrong counts
            most = self._parts.max_entry
            send = Comparison(verifier, stored, scope, send, most=most, differs=forget).send
        return await self._pass(verifier.reason, "bypass", scope, ask.receive, send)

    async def _pass_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold the store open while the host is up; what else is no request is not ours."""
        if scope["type"] == "lifespan":
            return await run_lifespan(self.app, scope, receive, send, resource=self.store.open())
        return await self.app(scope, receive, send)

    async def _pass(self, reason: str, why: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, and store nothing."""
        scope["sipup"].response = ResponseControl(None)
        self._bypassed.add()
        self.telemetry.counter("cache.bypass", reason=reason).add()
        told = self._parts.status.forwarded(why, detail="" if reason == why else reason)
        await self.app(scope, receive, marked(send, told, self._parts.kinds.target))

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


def _refused(request: Request, found: Found) -> str | None:
    """Return why a stored answer is not for this request."""
    if isinstance(found, StoredResponse) and (refused := request.flags & found.refuses):
        return "cookie" if refused & COOKIE else "authorization"
    return None


def _wish_of(scope: Scope) -> Wish | None:
    """Read Cache-Control; only without it, Pragma: RFC 9111, section 5.4."""
    lines = [value for name, value in scope["headers"] if name == b"cache-control"]
    return read_wish(lines or [value for name, value in scope["headers"] if name == b"pragma"])
