"""What a user may say about rate limiting, checked as it is said."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, ClassVar, get_args

from starlette.types import ASGIApp

from sipup_middleware.breaker import Breaker
from sipup_middleware.bridge import Home
from sipup_middleware.client_ip import ClientIP
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.lifespan import Opening
from sipup_middleware.ratelimit.backend import MEMORY, check_storage, connect, parse_rate
from sipup_middleware.ratelimit.headers import HeaderStyle, QuotaHeaders
from sipup_middleware.ratelimit.keys import Identity, Key, by_ip, by_user
from sipup_middleware.ratelimit.limits import Limits, OnOutage
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.middleware import RateLimitMiddleware
from sipup_middleware.ratelimit.paths import check_pattern
from sipup_middleware.ratelimit.policy import Rule
from sipup_middleware.ratelimit.rules import KeyedRule, RuleTable
from sipup_middleware.telemetry import Check, Telemetry, WarningRaised

__all__ = ("Limit", "RateLimit")

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most so many requests a period from each client."""

    rate: str = field(kw_only=False)
    """Amount and period, from seconds to years: ``"100/minute"``, ``"5 per 10 seconds"``."""

    key: Key
    """Whom it counts: `by_ip`, `by_user`, ``by_header(name)``, any ``f(scope) -> str | None``."""

    name: str | None = None
    """What headers and facts call it: letters, digits, ``_.-``; None = the key's name without ``by_``."""

    paths: Sequence[str] = ()
    """Patterns such as ``/items/{id}`` that it is for, counted together; none = all paths."""

    methods: Sequence[str] = ()
    """Methods that it is for; none = all."""

    cost: int = 1
    """Units that one request takes."""

    def __post_init__(self) -> None:
        amount, _ = parse_rate(self.rate)
        if not callable(self.key):
            raise ConfigurationError(f"Limit.key must be a function of the scope, not {self.key!r}")
        name = self.name if self.name is not None else getattr(self.key, "__name__", "").removeprefix("by_")
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"Limit.name must be 1 to 64 of A-Z a-z 0-9 _ . -, not {name!r}")
        if not 1 <= self.cost <= amount:
            raise ConfigurationError(f"Limit.cost must be 1 to the rate's amount, not {self.cost}")
        if isinstance(self.paths, str) or isinstance(self.methods, str):
            raise ConfigurationError(
                "Limit.paths and Limit.methods take sequences of strings, not one string"
            )
        for pattern in self.paths:
            check_pattern(pattern)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "paths", tuple(self.paths))
        object.__setattr__(self, "methods", tuple(method.upper() for method in self.methods))


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """Refuse the requests of clients that ask too often."""

    limits: Sequence[Limit] = (
        Limit("100/minute", key=by_ip, name="ip"),
        Limit("1000/hour", key=by_user, name="user"),
    )
    """What a request has to meet, all of it or it counts nowhere."""

    user: Key | None = None
    """``f(scope) -> str | None`` for `by_user`; None = a digest of the credential presented."""

    storage: str = field(default=MEMORY, repr=False)
    """``memory://`` (each process for itself), ``redis://``, ``valkey://``, ``rediss://``, ``unix:///path?db=0``."""

    client_ip: ClientIP = field(default_factory=ClientIP)
    """How `by_ip` finds the client's address: which proxies are yours."""

    exempt: Sequence[str] = ("/_health",)
    """Paths that cost nothing, with all below them."""

    on_outage: OnOutage = "local"
    """While the server is away: ``local`` counts in this process, ``open`` admits, ``closed`` answers 503."""

    storage_timeout: float = 0.05
    """Seconds that the server may take for one request."""

    headers: HeaderStyle = "draft-10+legacy"
    """RateLimit and RateLimit-Policy (``draft-10``), X-RateLimit-* (``legacy``), both, or ``off``."""

    session_cookie: str | None = None
    """Cookie that tells users apart where no credential is presented."""

    provides: ClassVar[str] = "limiter"
    _opening: Opening[Limits] = field(default_factory=Opening, init=False, repr=False, compare=False)
    _rules: tuple[Rule, ...] = field(init=False, repr=False, compare=False)
    _local: MemoryLimiter = field(init=False, repr=False, compare=False)
    _breaker: Breaker = field(default_factory=Breaker, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_limits()
        self._check_options()
        for name in ("limits", "exempt"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        rules = tuple(_rule(index, limit) for index, limit in enumerate(self.limits))
        object.__setattr__(self, "_rules", rules)
        object.__setattr__(self, "_local", MemoryLimiter(rules))

    def _check_limits(self) -> None:
        for limit in self.limits:
            if not isinstance(limit, Limit):
                raise ConfigurationError(f"RateLimit.limits takes Limit(...), not {limit!r}")
        names = [limit.name for limit in self.limits]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ConfigurationError(f"RateLimit.limits has more than one Limit of the name {doubled}")

    def _check_options(self) -> None:
        if isinstance(self.exempt, str):
            raise ConfigurationError("RateLimit.exempt takes a sequence of paths, not one string")
        for path in self.exempt:
            if not re.fullmatch(r"(/[^/{}]+)+", path):
                raise ConfigurationError(f"RateLimit.exempt takes paths like '/_health', not {path!r}")
        if self.on_outage not in get_args(OnOutage):
            raise ConfigurationError(f"RateLimit.on_outage is one of {get_args(OnOutage)}")
        if self.headers not in get_args(HeaderStyle):
            raise ConfigurationError(f"RateLimit.headers is one of {get_args(HeaderStyle)}")
        if self.storage_timeout <= 0:
            raise ConfigurationError(f"RateLimit.storage_timeout must be above 0, not {self.storage_timeout}")
        check_storage(self.storage)

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
        keyed = [
            KeyedRule(rule=rule, key=identity.bound(limit.key), paths=limit.paths, methods=limit.methods)
            for rule, limit in zip(self._rules, self.limits, strict=True)
        ]
        return RateLimitMiddleware(
            app,
            opener=self,
            local=self._local if self.storage == MEMORY else None,
            rules=RuleTable(keyed, self.exempt),
            identity=identity,
            headers=QuotaHeaders(self._rules, self.headers),
            telemetry=telemetry,
        )

    def open(self) -> AbstractAsyncContextManager[Limits]:
        """Hold the limiter open, for a lifespan or a script."""
        return self._opening.open(self._build)

    def handle(self) -> Limits:
        """Return the open limiter; where none is open, open one until the process ends."""
        return self._opening.get(self._build)

    def _build(self, home: Home) -> Limits:
        return Limits(
            local=self._local,
            remote=connect(home, self.storage, self._rules, timeout=self.storage_timeout),
            breaker=self._breaker,
            on_outage=self.on_outage,
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
        """Pickle what was said, not what was counted."""
        said = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        return partial(RateLimit, **said), ()


def _rule(index: int, limit: Limit) -> Rule:
    amount, seconds = parse_rate(limit.rate)
    return Rule(index=index, name=limit.name or "", amount=amount, period=seconds * 1000, cost=limit.cost)
