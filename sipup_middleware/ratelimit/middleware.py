"""The ASGI shell of rate limiting: ask the limiter, then serve or refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from math import ceil
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware.context import begin, end, enter
from sipup_middleware.lifespan import run_lifespan
from sipup_middleware.ratelimit.detour import Detour
from sipup_middleware.ratelimit.gate import Gate
from sipup_middleware.ratelimit.headers import QuotaHeaders
from sipup_middleware.ratelimit.keys import Identity
from sipup_middleware.ratelimit.limits import Limits, RequestLimits
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.policy import UNAVAILABLE, Decision, made
from sipup_middleware.ratelimit.refusals import (
    ABNORMAL_USAGE,
    FORBIDDEN,
    NOBODY_COUNTS,
    QUOTA_EXCEEDED,
    REDUCED_CAPACITY,
    refuse,
)
from sipup_middleware.ratelimit.rules import Ask, RuleTable, Selection
from sipup_middleware.ratelimit.shedder import Kind, Shed, Shedder
from sipup_middleware.ratelimit.slots import Slot
from sipup_middleware.ratelimit.sockets import MessageLimits, Talk, status_of
from sipup_middleware.ratelimit.told import Told
from sipup_middleware.ratelimit.trial import Trial
from sipup_middleware.ratelimit.watch import Watch
from sipup_middleware.telemetry import ClientBanned, RequestRefused, Telemetry

__all__ = ("Opener", "RateLimitMiddleware")


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
        detour: Detour | None,
        identity: Identity,
        headers: QuotaHeaders,
        gate: Gate | None,
        shedder: Shedder | None,
        priority: Callable[[Scope], int] | None,
        watch: Watch,
        messages: MessageLimits,
        trial: Trial,
        shadow: bool,
        telemetry: Telemetry,
    ) -> None:
        self.app = app
        self._opener = opener
        self._handle = opener.handle
        self._local = local
        self._rules = rules
        self._detour = detour
        self._identity = identity
        self._headers = headers
        self._gate = gate
        self._shedder = shedder
        self._priority = priority
        self._clock = telemetry.clock
        self._watch = watch
        self._messages = messages
        self._trial = trial
        self._shadow = shadow
        self._emit = telemetry.emit
        self._allowed = telemetry.counter("ratelimit.decisions", decision="allowed")
        self._limited = telemetry.counter("ratelimit.decisions", decision="limited")
        self._banned = telemetry.counter("ratelimit.decisions", decision="banned")
        self._denied = telemetry.counter("ratelimit.decisions", decision="denied")
        self._shadowed = telemetry.counter("ratelimit.decisions", decision="shadowed")
        self._undecided = RequestLimits(identity)
        self._told = Told()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; who is refused at once needs no context."""
        if scope["type"] not in {"http", "websocket"}:
            return await self._pass(scope, receive, send)
        if known := "sipup" in scope:
            scope["sipup"].limits = self._undecided  # a key may ask who is asking
        selection = self._select(scope)
        plain = None if selection is None or self._trial.left else selection.plain
        if selection is None or plain is None or scope["type"] == "websocket" or not (known or plain.direct):
            judge = partial(self._judge, selection)
            return await (judge if known else partial(enter, judge))(scope, receive, send)
        names: list[str | None] = []
        decision = plain.decide(scope, names)
        if decision is not None and not decision[0]:
            asks = plain.asks(names) if names else ()
            return await self._refuse(scope, receive, send, selection=selection, asks=asks, decision=decision)
        limits = made(RequestLimits, (self._identity, decision, self._handle, (), plain, names))
        if decision is not None:
            self._allowed.add()
            if self._headers.on:
                send = self._headers.telling(send, selection.policy, decision)
        if known:
            scope["sipup"].limits = limits
            return await self.app(scope, receive, send)
        scope, token = begin(scope)
        scope["sipup"].limits = limits
        try:
            return await self.app(scope, receive, send)
        finally:
            end(token)

    async def _judge(self, selection: Selection | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask who is kept out, and whom each rule counts the request against."""
        scope["sipup"].limits = self._undecided
        if selection is None:
            return await self.app(scope, receive, send)
        verdict = None if self._gate is None else self._gate.judge(scope)
        if verdict == "allow":
            return await self.app(scope, receive, send)
        if verdict == "deny":
            (self._shadowed if self._shadow else self._denied).add()
            if not self._shadow:
                return await refuse(FORBIDDEN, scope, receive, send)
        asks = selection.ask(scope)
        if self._trial.left:
            self._trial.saw(asks)
        count = self._count if self._shedder is None else self._count_if_there_is_room
        return await count(selection, asks, scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await run_lifespan(self.app, scope, receive, send, resource=self._opener.open())
        return await self.app(scope, receive, send)

    def _select(self, scope: Scope) -> Selection | None:
        detour = self._detour
        return (self._rules if detour is None or not detour.sees(scope) else detour.rules).select(scope)

    async def _count(  # noqa: C901, PLR0913 (the hot path: a request, and what is known of it)
        self,
        selection: Selection,
        asks: Sequence[Ask],
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        slot: Slot | None = None,
    ) -> None:
        """Ask the limiter, then the app; who is refused needs no *slot*."""
        decision = None
        if asks and self._local is not None:
            decision = self._local.decide(asks)
        elif asks:
            decision = await self._opener.handle().decide(asks, self._emit)
        if decision is None:
            app = self.app if scope["type"] == "http" else partial(self._converse, self.app, asks)
            return await app(scope, receive, send)
        scope["sipup"].limits = RequestLimits(self._identity, decision, self._handle, asks)
        if decision.shadowed or (self._shadow and not decision.allowed):
            self._shadowed.add()
        if not decision.allowed and not self._shadow:
            if slot is not None:
                slot.forgo()
            return await self._refuse(scope, receive, send, selection=selection, asks=asks, decision=decision)
        self._allowed.add()
        app = self._watched(asks, decision) if selection.watches or self._watch.strikes else self.app
        if scope["type"] == "websocket":
            return await self._converse(app, asks, scope, receive, send)
        if self._headers.on and decision.rule:
            send = self._headers.telling(send, selection.policy_of(asks), decision, asks)
        return await app(scope, receive, send)

    async def _count_if_there_is_room(
        self, selection: Selection, asks: Sequence[Ask], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Refuse who was refused a moment ago, then those for whom there is no room; serve the others."""
        assert self._shedder is not None  # noqa: S101 (asked by the caller)
        enforced = asks and self._local is None and not self._shadow
        if enforced and (denied := self._opener.handle().denied(asks)) is not None:
            return await self._refuse(scope, receive, send, selection=selection, asks=asks, decision=denied)
        client = scope["sipup"].request_id if selection.crowded else self._identity.ip(scope)
        priority = 0 if self._priority is None else self._priority(scope)
        kind: Kind = "websocket" if scope["type"] == "websocket" else "request"
        ticket = await self._shedder.enter(client, priority, kind=kind)
        if isinstance(ticket, Shed):
            if self._shadow:
                return await self._count(selection, asks, scope, receive, send)
            return await refuse(REDUCED_CAPACITY, scope, receive, send)
        slot = Slot(ticket, send, self._clock)
        try:
            return await self._count(selection, asks, scope, receive, slot.send, slot=slot)
        finally:
            slot.leave()

    def _watched(self, asks: Sequence[Ask], decision: Decision) -> ASGIApp:
        """Return the app, with what is counted by the response counted before the client has it.

        So its next request is judged by it.
        """

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            started = False

            async def send_and_count(message: Message) -> None:
                nonlocal started
                if not started and (status := status_of(message)) is not None:
                    started = True
                    await self._answered(asks, decision, status)
                await send(message)

            try:
                await self.app(scope, receive, send_and_count)
            except Exception:
                if not started:
                    await self._answered(asks, decision, 500)
                raise

        return serve

    async def _answered(self, asks: Sequence[Ask], decision: Decision, status: int) -> None:
        counted, struck = self._watch.counted(asks, status), self._watch.struck(asks, status)
        if not counted and struck is None:
            return
        seconds = await self._opener.handle().answered(counted, struck, self._emit)
        if struck is not None:
            self._tell_ban(*struck, decision, seconds)

    def _tell_ban(self, who: str, name: str, decision: Decision, seconds: float) -> None:
        """Emit the ban that a response led to, if it did."""
        now = decision.reset_at - decision.reset
        banned = seconds and not self._shadow
        if banned and self._told.is_new((who, name, True), now=now, until=now + ceil(seconds)):
            self._emit(ClientBanned(self._identity.alias(name), seconds))

    async def _converse(
        self, app: ASGIApp, asks: Sequence[Ask], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a websocket, whose messages may have limits of their own."""
        budgets = self._messages.of(asks)
        if not budgets:
            return await app(scope, receive, send)

        def admits() -> bool:
            decision = self._messages.decide(budgets)
            if decision.shadowed:
                self._shadowed.add()
            return decision.allowed

        talk = Talk(receive, send, admits)
        return await app(scope, talk.receive, talk.send)

    def _refuse(  # noqa: PLR0913 (a request, and why)
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        selection: Selection,
        asks: Sequence[Ask],
        decision: Decision,
    ) -> Awaitable[None]:
        (self._banned if decision.banned else self._limited).add()
        if decision is UNAVAILABLE:
            return refuse(NOBODY_COUNTS, scope, receive, send)
        if asks:
            self._tell(asks, decision)
        if decision.banned:
            extra = [(b"retry-after", b"%d" % decision.reset)]
            return refuse(ABNORMAL_USAGE, scope, receive, send, extra=extra)
        extra = self._headers.refused(selection.policy_of(asks), decision, asks)
        return refuse(QUOTA_EXCEEDED, scope, receive, send, extra=extra)

    def _tell(self, asks: Sequence[Ask], decision: Decision) -> None:
        """Emit the refusal, and the ban that it is due to: once until it is over."""
        who, client = next(((rule.who, name) for rule, name in asks if rule.name == decision.rule), ("", ""))
        what = who if decision.banned else decision.rule, client, decision.banned
        if self._told.is_new(what, now=decision.reset_at - decision.reset, until=decision.reset_at):
            alias = self._identity.alias(client)
            self._emit(RequestRefused(decision.rule, alias, decision.reset))
            if decision.banned:
                self._emit(ClientBanned(alias, decision.reset))
