"""The open limiter, and what a request can ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from sipup_middleware.breaker import Breaker
from sipup_middleware.errors import ConfigurationError, StoreUnavailable
from sipup_middleware.ratelimit.backend import Remote
from sipup_middleware.ratelimit.denied import DenyCache
from sipup_middleware.ratelimit.keys import Identity
from sipup_middleware.ratelimit.limit import OnOutage
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.plain import PlainLimits
from sipup_middleware.ratelimit.policy import UNAVAILABLE, Decision, Rule
from sipup_middleware.ratelimit.rules import Ask
from sipup_middleware.ratelimit.watch import Struck
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact, Reading

__all__ = ("Emit", "Limits", "RequestLimits")

Emit = Callable[[Fact], object]


class Limits:
    """Counts on the server while it answers; in an outage, does as each limit's ``on_outage`` says.

    For scripts and tests: ``async with layer.open() as limits``. A client is named as its limit's key names
    it: an address, an IPv6 network, a user.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        local: MemoryLimiter,
        remote: Remote | None,
        breaker: Breaker,
        on_outage: Sequence[OnOutage],
    ) -> None:
        self._rules = {each.name: each for each in rules}
        self._local = local
        self._remote = remote
        self._breaker = breaker
        self._on_outage = on_outage
        self._denied = DenyCache()

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

    def denied(self, asks: Sequence[Ask]) -> Decision | None:
        """Return the refusal that a client was told a moment ago, if it still holds: no question is asked."""
        for rule, name in asks:
            if (found := self._denied.get((rule.name, name))) is not None:
                return found
            if (found := self._denied.get((rule.who, name, "ban"))) is not None:
                return found._replace(rule=rule.name)  # another of its rules may have led to the ban
        return None

    async def decide(self, asks: Sequence[Ask], emit: Emit) -> Decision | None:
        """Count one request; None = let it through, uncounted. *emit* hears of an outage and of its end."""
        if self._remote is None:
            return self._local.decide(asks)
        if (denied := self.denied(asks)) is not None:
            return denied
        if not self._breaker.admits():
            return self._without(asks)
        try:
            decision = await self._remote.decide(asks)
        except StoreUnavailable as error:
            self._failed(error, emit)
            return self._without(asks)
        self._succeeded(emit)
        if not decision.allowed:
            self._remember(asks, decision)
        return decision

    async def answered(self, counted: Sequence[Ask], struck: Struck | None, emit: Emit) -> float:
        """Count what a response counts for, and hold it against who is *struck*, in one step.

        Returns the seconds of the ban that it led to, or 0.
        """
        if self._remote is None or not self._breaker.admits():
            return self._answered_here(counted, struck)
        try:
            if struck is None:
                seconds = 0.0
                await self._remote.count(counted)
            else:
                seconds = await self._remote.count_and_strike(counted, *struck)
        except StoreUnavailable as error:
            self._failed(error, emit)
            return self._answered_here(counted, struck)
        self._succeeded(emit)
        return seconds

    def _answered_here(self, counted: Sequence[Ask], struck: Struck | None) -> float:
        self._local.count(counted)
        return 0 if struck is None else self._local.strike(*struck)

    async def peek(self, rule: str | Rule, client: str) -> Decision:
        """Return what *client* has left of the limit *rule*, and count nothing. Raises `StoreUnavailable`."""
        asks = [(self._rule(rule), client)]
        return (self._local.peek(asks) if self._remote is None else await self._remote.peek(asks))[0]

    async def reset(self, rule: str | Rule, client: str) -> None:
        """Forget what *client* has used of the limit *rule*. Raises `StoreUnavailable`."""
        known = self._rule(rule)
        self._denied.forget((known.name, client))
        if self._remote is None:
            return self._local.reset(known, client)
        return await self._remote.reset(known, client)

    async def ban(self, client: str, seconds: float, *, who: str = "ip") -> None:
        """Refuse every request of *client*, whom the key *who* names so. Raises `StoreUnavailable`."""
        if seconds <= 0:
            raise ConfigurationError(f"a ban must be for more than 0 seconds, not {seconds}")
        if self._remote is None:
            return self._local.ban(who, client, seconds)
        return await self._remote.ban(who, client, seconds)

    async def unban(self, client: str, *, who: str = "ip") -> None:
        """Let *client* in again; other processes see it within five seconds. Raises `StoreUnavailable`."""
        self._denied.forget((who, client, "ban"))
        if self._remote is None:
            return self._local.unban(who, client)
        return await self._remote.unban(who, client)

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

    def _remember(self, asks: Sequence[Ask], decision: Decision) -> None:
        for rule, name in asks:
            if rule.name == decision.rule:
                self._denied.put((rule.who, name, "ban") if decision.banned else (rule.name, name), decision)

    def _rule(self, name: str | Rule) -> Rule:
        if isinstance(name, Rule):
            return name
        if name not in self._rules:
            raise ConfigurationError(f"no limit is named {name!r}; there are: {', '.join(self._rules)}")
        return self._rules[name]

    def _failed(self, error: StoreUnavailable, emit: Emit) -> None:
        if self._breaker.fail():
            emit(BackendLost("ratelimit", str(error)))

    def _succeeded(self, emit: Emit) -> None:
        if self._breaker.succeed():
            emit(BackendRestored("ratelimit"))

    def _without(self, asks: Sequence[Ask]) -> Decision | None:
        """Do without the server: one closed limit refuses, open ones are left out, the rest count here."""
        does = [self._on_outage[rule.index] for rule, _ in asks]
        if any(how == "closed" and not rule.shadow for (rule, _), how in zip(asks, does, strict=True)):
            return UNAVAILABLE
        counted = [ask for ask, how in zip(asks, does, strict=True) if how == "local"]
        return self._local.decide(counted) if counted else None


class RequestLimits(NamedTuple):  # made for each request: an __init__ would take three times as long
    """``request.state.sipup.limits``: what was decided on this request, and what to ask about its client."""

    identity: Identity
    """Who is asking, as this layer sees it."""

    decision: Decision | None = None
    """None where no rule applied: exempt, a preflight, or let through in an outage."""

    limits_of: Callable[[], Limits] | None = None
    """Gives the open limiter."""

    given: Sequence[Ask] = ()
    """Whom each of the request's rules counts it against."""

    plain: PlainLimits | None = None
    """What counted the request, in place of *given*."""

    names: Sequence[str | None] = ()
    """What it was told of the client."""

    @property
    def asks(self) -> Sequence[Ask]:
        """Whom each of the request's rules counts it against."""
        return self.given if self.plain is None else self.plain.asks(self.names)

    def __repr__(self) -> str:
        return f"RequestLimits({self.decision})"  # and not who is asking

    async def peek(self) -> Mapping[str, Decision]:
        """Return what the client has left of each of the request's limits, by name."""
        return {rule.name: await self._limits.peek(rule, name) for rule, name in self.asks}

    async def reset(self) -> None:
        """Forget what the client has used of the request's limits."""
        for rule, name in self.asks:
            await self._limits.reset(rule, name)

    async def ban(self, seconds: float, *, who: str = "ip") -> None:
        """Refuse every request of this client: of its address or, with *who*, of what another key tells."""
        await self._limits.ban(self._client(who), seconds, who=who)

    async def unban(self, *, who: str = "ip") -> None:
        """Let it in again."""
        await self._limits.unban(self._client(who), who=who)

    @property
    def _limits(self) -> Limits:
        if self.limits_of is None:
            raise ConfigurationError("no limit applies to this request")
        return self.limits_of()

    def _client(self, who: str) -> str:
        for rule, name in self.asks:
            if rule.who == who:
                return name
        raise ConfigurationError(f"no limit of this request counts by {who!r}")
