"""The ASGI shell of rate limiting: ask the limiter, then serve or refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware.asgi import Problem
from sipup_middleware.context import Context, enter
from sipup_middleware.lifespan import run_lifespan
from sipup_middleware.ratelimit.headers import QuotaHeaders
from sipup_middleware.ratelimit.keys import Identity
from sipup_middleware.ratelimit.limits import Limits, RequestLimits
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.policy import UNAVAILABLE, Decision, Rule
from sipup_middleware.ratelimit.rules import RuleTable, Selection
from sipup_middleware.telemetry import RequestRefused, Telemetry

__all__ = ("Opener", "RateLimitMiddleware")

_QUOTA_EXCEEDED = Problem(
    status=429,
    title="Too Many Requests",
    type="https://iana.org/assignments/http-problem-types#quota-exceeded",
    detail="The quota for these requests is used up; retry after the time given.",
)
_NOBODY_COUNTS = Problem(status=503, title="Service Unavailable", headers=((b"retry-after", b"1"),))


class Opener(Protocol):
    """A `RateLimit`, as its middleware sees it."""

    def open(self) -> AbstractAsyncContextManager[Limits]:
        """Hold the limiter open."""

    def handle(self) -> Limits:
        """Return the open limiter, or one opened now."""


class RateLimitMiddleware:
    """Serve a client's requests until one of its quotas is used up, then refuse them."""

    def __init__(  # noqa: PLR0913 (parts, given by name)
        self,
        app: ASGIApp,
        *,
        opener: Opener,
        local: MemoryLimiter | None,
        rules: RuleTable,
        identity: Identity,
        headers: QuotaHeaders,
        telemetry: Telemetry,
    ) -> None:
        self.app = app
        self._opener = opener
        self._local = local
        self._rules = rules
        self._identity = identity
        self._headers = headers
        self._emit = telemetry.emit
        self._allowed = telemetry.counter("ratelimit.decisions", decision="allowed")
        self._limited = telemetry.counter("ratelimit.decisions", decision="limited")
        self._undecided = RequestLimits(identity)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            return await self._pass(scope, receive, send)
        context: Context | None = scope.get("sipup")
        if context is None:
            return await enter(self, scope, receive, send)

        context.limits = self._undecided  # a key may ask who is asking
        selection = self._rules.select(scope)
        asks = selection.ask(scope)
        decision = None
        if asks and self._local is not None:
            decision = self._local.decide(asks)
        elif asks:
            decision = await self._opener.handle().decide(asks, self._emit)
        if decision is None:
            return await self.app(scope, receive, send)
        context.limits = RequestLimits(self._identity, decision)
        if not decision.allowed:
            return await self._refuse(context, send, selection, asks)
        self._allowed.add()
        return await self.app(scope, receive, self._telling(send, selection.policy, decision))

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await run_lifespan(self.app, scope, receive, send, resource=self._opener.open())
        return await self.app(scope, receive, send)

    def _telling(self, send: Send, policy: bytes, decision: Decision) -> Send:
        """Wrap *send* so that the response tells the client's quota."""
        if not self._headers.on:
            return send
        add_to = self._headers.add_to

        def send_with_quota(
            message: Message,
        ) -> Awaitable[None]:  # not a coroutine of its own: one less a message
            if message["type"] == "http.response.start":
                message = {**message, "headers": add_to(message.get("headers", ()), policy, decision)}
            return send(message)

        return send_with_quota

    async def _refuse(
        self, context: Context, send: Send, selection: Selection, asks: Sequence[tuple[Rule, str]]
    ) -> None:
        decision = context.limits.decision
        self._limited.add()
        if decision is None or decision is UNAVAILABLE:
            return await _NOBODY_COUNTS.send(context.scope, send, instance=context.request_id)
        client = next(name for rule, name in asks if rule.name == decision.rule)
        self._emit(RequestRefused(decision.rule, self._identity.alias(client), decision.reset))
        retry = [(b"retry-after", b"%d" % decision.reset)]
        extra = self._headers.add_to(retry, selection.policy, decision)
        return await _QUOTA_EXCEEDED.send(context.scope, send, instance=context.request_id, extra=extra)
