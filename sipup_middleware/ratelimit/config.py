"""What a user may say about rate limiting, checked as it is said."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Literal, get_args

from starlette.types import ASGIApp

from sipup_middleware.breaker import Breaker
from sipup_middleware.bridge import Home
from sipup_middleware.client_ip import ClientIP
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.lifespan import Opening
from sipup_middleware.networks import Networks
from sipup_middleware.ratelimit.backend import MEMORY, Storage, check_storage, connect
from sipup_middleware.ratelimit.backoff import Backoff
from sipup_middleware.ratelimit.detour import Detour
from sipup_middleware.ratelimit.gate import Gate
from sipup_middleware.ratelimit.headers import HeaderStyle, QuotaHeaders
from sipup_middleware.ratelimit.keys import Identity, Key, by_ip, by_user
from sipup_middleware.ratelimit.limit import Limit, OnOutage
from sipup_middleware.ratelimit.limits import Limits
from sipup_middleware.ratelimit.memory import MAX_KEYS, MemoryLimiter
from sipup_middleware.ratelimit.middleware import RateLimitMiddleware
from sipup_middleware.ratelimit.policy import Rule
from sipup_middleware.ratelimit.rates import DynamicRate
from sipup_middleware.ratelimit.rules import KeyedRule, RuleTable
from sipup_middleware.ratelimit.shed import LoadShed
from sipup_middleware.ratelimit.shedder import Shedder
from sipup_middleware.ratelimit.sockets import MessageLimits
from sipup_middleware.ratelimit.trial import Trial
from sipup_middleware.ratelimit.watch import Watch
from sipup_middleware.telemetry import Check, Telemetry, WarningRaised

__all__ = ("Mode", "RateLimit")

Mode = Literal["enforce", "shadow"]

_BY_IP = Limit("100/minute", key=by_ip, name="ip")
_DEFAULTS = (_BY_IP, Limit("1000/hour", key=by_user, name="user"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """Refuse the requests of clients that ask too often."""

    limits: Sequence[Limit] = _DEFAULTS
    """What a request has to meet, all of it or it counts nowhere. Behind a balancer that `client_ip` does not
    name, the first of the default refuses nobody: it would count the whole site as one client."""

    user: Key | None = None
    """``f(scope) -> str | None`` for `by_user`; None = a digest of the credential presented."""

    storage: str | Storage = field(default=MEMORY, repr=False)
    """``memory://`` (each process for itself), ``redis://``, ``valkey://``, ``rediss://``, ``unix:///path?db=0``,
    ``redis+sentinel://host:26379,host:26379/service?db=0``, or a storage of ``limits.aio``."""

    client_ip: ClientIP = field(default_factory=ClientIP)
    """How `by_ip` finds the client's address: which proxies are yours."""

    backoff: Backoff | None = None
    """Bans for clients that go on after they were refused; None = every refusal is a plain one."""

    shed: LoadShed | None = None
    """What is refused while there is more to do than can be done; None = nothing."""

    exempt: Sequence[str] = ("/_health",)
    """Paths that cost nothing, with all below them."""

    allow: Sequence[str] = ()
    """Networks whose clients meet no limit, such as ``"192.0.2.0/24"``."""

    deny: Sequence[str] = ()
    """Networks whose clients get 403."""

    on_outage: OnOutage = "local"
    """While the server is away: ``local`` counts in this process, ``open`` admits, ``closed`` answers 503."""

    storage_timeout: float = 0.05
    """Seconds that the server may take for one request."""

    headers: HeaderStyle = "draft-10+legacy"
    """RateLimit and RateLimit-Policy (``draft-10``), X-RateLimit-* (``legacy``), both, or ``off``."""

    session_cookie: str | None = None
    """Cookie that tells users apart where no credential is presented."""

    max_keys: int = MAX_KEYS
    """Clients that each limit remembers in this process and window; beyond it the stalest are forgotten."""

    mode: Mode = "enforce"
    """``shadow`` refuses nobody and writes no header: it counts what would have been refused."""

    provides: ClassVar[str] = "limiter"
    _opening: Opening[Limits] = field(default_factory=Opening, init=False, repr=False, compare=False)
    _rules: tuple[Rule, ...] = field(init=False, repr=False, compare=False)
    _local: MemoryLimiter = field(init=False, repr=False, compare=False)
    _gate: Gate | None = field(init=False, repr=False, compare=False)
    _breaker: Breaker = field(default_factory=Breaker, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for option in ("exempt", "allow", "deny"):
            if isinstance(getattr(self, option), str):
                raise ConfigurationError(f"RateLimit.{option} takes a sequence of strings, not one string")
        for option in ("limits", "exempt", "allow", "deny"):
            object.__setattr__(self, option, tuple(getattr(self, option)))
        self._check_limits()
        self._check_options()
        rules = tuple(_rule(index, limit) for index, limit in enumerate(self.limits))
        check_storage(self.storage, rules)
        object.__setattr__(self, "_rules", rules)
        object.__setattr__(self, "_local", MemoryLimiter(rules, backoff=self.backoff, max_keys=self.max_keys))
        object.__setattr__(self, "_gate", self._build_gate())

    def _check_limits(self) -> None:
        for limit in self.limits:
            if not isinstance(limit, Limit):
                raise ConfigurationError(f"RateLimit.limits takes Limit(...), not {limit!r}")
        names = [limit.name for limit in self.limits]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ConfigurationError(f"RateLimit.limits has more than one Limit of the name {doubled}")
        unscoped = {limit.name for limit in self.limits if limit.scope is None}
        if shared := unscoped & {limit.scope for limit in self.limits}:
            raise ConfigurationError(f"RateLimit.limits has a Limit named as the scope of others: {shared}")

    def _check_options(self) -> None:
        for path in self.exempt:
            if not re.fullmatch(r"(/[^/{}]+)+", path):
                raise ConfigurationError(f"RateLimit.exempt takes paths like '/_health', not {path!r}")
        for option, choices in (("on_outage", OnOutage), ("headers", HeaderStyle), ("mode", Mode)):
            if getattr(self, option) not in get_args(choices):
                raise ConfigurationError(f"RateLimit.{option} is one of {get_args(choices)}")
        if self.user is not None and (iscoroutinefunction(self.user) or not callable(self.user)):
            raise ConfigurationError(f"RateLimit.user must be a plain function, not {self.user!r}")
        if not self.storage_timeout > 0:
            raise ConfigurationError(f"RateLimit.storage_timeout must be above 0, not {self.storage_timeout}")
        if self.max_keys < 1:
            raise ConfigurationError(f"RateLimit.max_keys must be at least 1, not {self.max_keys}")

    def _build_gate(self) -> Gate | None:
        if not self.allow and not self.deny:
            return None
        return Gate(
            self.client_ip,
            allow=Networks(self.allow, option="RateLimit.allow"),
            deny=Networks(self.deny, option="RateLimit.deny"),
        )

    def __call__(self, app: ASGIApp, *, telemetry: Telemetry | None = None) -> ASGIApp:
        """Wrap *app*."""
        telemetry = telemetry or Telemetry()
        self._register(telemetry)
        identity = Identity(
            client_ip=self.client_ip,
            user=self.user,
            session_cookie=self.session_cookie,
            telemetry=telemetry,
        )
        keyed = self._keyed(identity, telemetry)
        plain = self._local.plain if self._is_plain else None
        return RateLimitMiddleware(
            app,
            opener=self,
            local=self._local if self.storage == MEMORY else None,
            rules=RuleTable(keyed, self.exempt, plain=plain),
            detour=self._detour(keyed, telemetry),
            identity=identity,
            headers=QuotaHeaders(
                self._rules,
                self.headers if self.mode == "enforce" else "off",
                dynamic=[limit.name or "" for limit in self.limits if not isinstance(limit.rate, str)],
            ),
            gate=self._gate,
            shedder=self._shedder(telemetry),
            priority=self.shed.priority if self.shed else None,
            watch=Watch(self.limits, self.backoff),
            messages=MessageLimits(self.limits, shadow=self.mode == "shadow"),
            trial=Trial((limit.name or "" for limit in self.limits if _is_for_all(limit)), telemetry),
            shadow=self.mode == "shadow",
            telemetry=telemetry,
        )

    def _keyed(self, identity: Identity, telemetry: Telemetry) -> list[KeyedRule]:
        return [
            KeyedRule(
                rule=rule,
                key=identity.bound(limit.key),
                paths=limit.paths,
                methods=(*limit.methods, "HEAD") if "GET" in limit.methods else limit.methods,
                unless=limit.unless,
                rate=None if isinstance(limit.rate, str) else DynamicRate(limit, rule.index, telemetry),
            )
            for rule, limit in zip(self._rules, self.limits, strict=True)
        ]

    def _detour(self, keyed: list[KeyedRule], telemetry: Telemetry) -> Detour | None:
        """Return the rules for what comes through a balancer that nobody named, if a default rule suffers."""
        if self.client_ip.trusted or not any(limit is _BY_IP for limit in self.limits):
            return None
        rules = [
            replace(each, rule=replace(each.rule, shadow=True)) if limit is _BY_IP else each
            for each, limit in zip(keyed, self.limits, strict=True)
        ]
        detour = Detour(RuleTable(rules, self.exempt, crowded=True), telemetry)
        telemetry.check(Check("ratelimit:client_ip", detour.check, critical=False))
        return detour

    @property
    def _is_plain(self) -> bool:
        """Whether there is nothing to it but what the limits say."""
        here = self.storage == MEMORY and self.mode == "enforce"
        return here and self._gate is None and self.shed is None and self.backoff is None

    def _shedder(self, telemetry: Telemetry) -> Shedder | None:
        if self.shed is None:
            return None
        # In shadow nobody waits either: who would is counted as refused.
        return Shedder(replace(self.shed, queue=0) if self.mode == "shadow" else self.shed, telemetry)

    def open(self) -> AbstractAsyncContextManager[Limits]:
        """Hold the limiter open, for a lifespan or a script."""
        return self._opening.open(self._build)

    def handle(self) -> Limits:
        """Return the open limiter; where none is open, open one until the process ends."""
        return self._opening.get(self._build)

    def _build(self, home: Home) -> Limits:
        return Limits(
            self._rules,
            local=self._local,
            remote=connect(
                home, self.storage, self._rules, timeout=self.storage_timeout, backoff=self.backoff
            ),
            breaker=self._breaker,
            on_outage=[limit.on_outage or self.on_outage for limit in self.limits],
        )

    def _register(self, telemetry: Telemetry) -> None:
        telemetry.gauge("ratelimit.keys", lambda: self._local.keys)
        telemetry.gauge("ratelimit.degraded", lambda: float(self._breaker.is_open))
        if self.storage != MEMORY:
            telemetry.check(
                Check("ratelimit:storage", lambda: self.handle().check(telemetry.emit), critical=False)
            )
        elif os.environ.get("WEB_CONCURRENCY", "1") not in {"", "0", "1"}:
            telemetry.emit(WarningRaised("ratelimit", "memory:// counts in each worker for itself"))
        if self.client_ip.trusts_everyone:
            telemetry.emit(WarningRaised("ratelimit", "ClientIP.trusted believes any client's headers"))

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """Pickle what was said, not what was counted; the default limits stay those that nobody wrote."""
        said = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        if self.limits is _DEFAULTS:
            del said["limits"]
        return partial(RateLimit, **said), ()


def _is_for_all(limit: Limit) -> bool:
    return not limit.paths and not limit.methods and limit.unless is None


def _rule(index: int, limit: Limit) -> Rule:
    return limit.rule(index, limit.rate if isinstance(limit.rate, str) else limit.default)
