"""The open limiter, and what a request can ask of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

from sipup_middleware.breaker import Breaker
from sipup_middleware.errors import StoreUnavailable
from sipup_middleware.ratelimit.backend import Remote
from sipup_middleware.ratelimit.keys import Identity
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.policy import UNAVAILABLE, Decision, Rule
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact, Reading

__all__ = ("Emit", "Limits", "OnOutage", "RequestLimits")

OnOutage = Literal["local", "open", "closed"]
Emit = Callable[[Fact], object]


class RequestLimits:
    """``request.state.sipup.limits``: what was decided on this request."""

    __slots__ = ("decision", "identity")

    def __init__(self, identity: Identity, decision: Decision | None = None) -> None:
        self.identity = identity
        """Who is asking, as this layer sees it."""

        self.decision = decision
        """None where no rule applied: exempt, a preflight, or let through in an outage."""


class Limits:
    """Counts on the server while it answers; in an outage, does as `RateLimit.on_outage` says."""

    def __init__(
        self, *, local: MemoryLimiter, remote: Remote | None, breaker: Breaker, on_outage: OnOutage
    ) -> None:
        self._local = local
        self._remote = remote
        self._breaker = breaker
        self._on_outage = on_outage

    async def start(self) -> None:
        """Connect, if the server is there."""
        if self._remote is not None:
            with suppress(StoreUnavailable):
                await self._remote.ping()

    async def aclose(self) -> None:
        """Close every connection and forget what was counted in this process."""
        self._local.clear()
        if self._remote is not None:
            await self._remote.aclose()

    async def decide(self, asks: Sequence[tuple[Rule, str]], emit: Emit) -> Decision | None:
        """Count one request; None = let it through, uncounted. *emit* hears of an outage and of its end."""
        if self._remote is None:
            return self._local.decide(asks)
        if not self._breaker.admits():
            return self._without(asks)
        try:
            decision = await self._remote.decide(asks)
        except StoreUnavailable as error:
            self._failed(error, emit)
            return self._without(asks)
        self._succeeded(emit)
        return decision

    async def check(self, emit: Emit) -> Reading:
        """Answer readiness: are the limits shared? An answer closes an open breaker, too."""
        if self._remote is None:
            return Reading()
        try:
            await self._remote.ping()
        except StoreUnavailable as error:
            self._failed(error, emit)
            return Reading(status="fail", output="its server does not answer: limits are not shared")
        self._succeeded(emit)
        return Reading()

    def _failed(self, error: StoreUnavailable, emit: Emit) -> None:
        if self._breaker.fail():
            emit(BackendLost("ratelimit", str(error)))

    def _succeeded(self, emit: Emit) -> None:
        if self._breaker.succeed():
            emit(BackendRestored("ratelimit"))

    def _without(self, asks: Sequence[tuple[Rule, str]]) -> Decision | None:
        if self._on_outage == "local":
            return self._local.decide(asks)
        return None if self._on_outage == "open" else UNAVAILABLE
