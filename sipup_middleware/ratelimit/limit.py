"""One limit: how much, of whom, on what; checked as it is said."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Literal, get_args

from starlette.types import Scope

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.ratelimit.backend import parse_rate
from sipup_middleware.ratelimit.keys import Key
from sipup_middleware.ratelimit.paths import check_pattern
from sipup_middleware.ratelimit.policy import Rule, Strategy

__all__ = ("MOST", "MOST_KEPT", "Limit", "OnOutage", "Rate")

MOST = 10**12
"""Units of a rate, and milliseconds: 31 years."""

MOST_KEPT = 10**6
"""Units of a rate whose every request is kept."""

_EXACT = 2**53

Rate = str | Callable[[Scope], str | None]
"""``"100/minute"``, or a function that says so for each request; None = this request is free."""

OnOutage = Literal["local", "open", "closed"]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most so many requests a period from each client."""

    rate: Rate = field(kw_only=False)
    """Amount and period, from seconds to years: ``"100/minute"``, ``"5 per 10 seconds"``; or a plain function
    of the scope that returns such a text, or None to let the request through uncounted."""

    key: Key
    """Whom it counts: `by_ip`, `by_user`, ``by_header(name)``, any ``f(scope) -> str | None``."""

    name: str | None = None
    """What headers and facts call it: letters, digits, ``_.-``; None = the key's name without ``by_``."""

    paths: Sequence[str] = ()
    """Patterns such as ``/items/{id}`` that it is for, counted together; none = all paths."""

    methods: Sequence[str] = ()
    """Methods that it is for; none = all. GET has HEAD with it, and a websocket's handshake is one."""

    cost: int = 1
    """Units that one request takes."""

    strategy: Strategy | None = None
    """``sliding`` (two counters, no burst at a window's edge), ``fixed``, ``gcra`` (evenly spread), or
    ``moving`` (exact; keeps a timestamp a request). None = ``gcra`` where there is *burst*."""

    burst: int = 0
    """Units that a client which was quiet may take at once, with ``gcra``; 0 = the rate's amount."""

    scope: str | None = None
    """Limits of one *scope* and the same rate share one counter; None = each has its own."""

    messages: str | None = None
    """What a client's websockets may send, such as ``"20/second"``; more closes it. None = anything."""

    count_when: Callable[[int], bool] | None = None
    """``f(status) -> bool``: which responses count; the limit is looked at before, and counted after the app
    has answered. An exception is a 500. None = every request counts, before the app is asked."""

    unless: Callable[[Scope], bool] | None = None
    """``f(scope) -> bool``: requests that it is not for, such as those of verified users."""

    shadow: bool = False
    """Refuse nobody and tell nobody: count what would have been refused."""

    on_outage: OnOutage | None = None
    """What holds for it while the storage's server is away; None = as the layer says."""

    default: str = "100/minute"
    """What a *rate* that is a function means where it raises, or returns nonsense."""

    def __post_init__(self) -> None:
        for option in ("paths", "methods"):
            if isinstance(getattr(self, option), str):
                raise ConfigurationError(f"Limit.{option} takes a sequence of strings, not one string")
            object.__setattr__(self, option, tuple(getattr(self, option)))
        self._check_rates()
        self._check_functions()
        name = self.name if self.name is not None else self.who
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"Limit.name must be 1 to 64 of A-Z a-z 0-9 _ . -, not {name!r}")
        if self.scope is not None and not _NAME.fullmatch(self.scope):
            raise ConfigurationError(f"Limit.scope must be 1 to 64 of A-Z a-z 0-9 _ . -, not {self.scope!r}")
        for pattern in self.paths:
            check_pattern(pattern)
        self._check_choices()
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "methods", tuple(method.upper() for method in self.methods))

    def _check_rates(self) -> None:
        if type(self.burst) is not int or self.burst < 0:
            raise ConfigurationError(f"Limit.burst must be a number of at least 0, not {self.burst!r}")
        parse_rate(self.default, option="Limit.default")
        if self.messages is not None:
            parse_rate(self.messages, option="Limit.messages")
        told = (self.default, "Limit.default") if callable(self.rate) else (self.rate, "Limit.rate")
        amount, _ = self._parse(*told)
        if type(self.cost) is not int or not 1 <= self.cost <= (self.burst or amount):
            raise ConfigurationError(f"Limit.cost must be 1 to what may be taken at once, not {self.cost!r}")

    def _parse(self, rate: str, option: str = "Limit.rate") -> tuple[int, int]:
        """Return amount and seconds, if every limiter can reckon with them exactly: Lua does so to 2**53."""
        amount, seconds = parse_rate(rate, option=option)
        period = seconds * 1000
        if max(amount, period) > MOST:
            raise ConfigurationError(f"{option} must be at most {MOST} units and milliseconds, not {rate!r}")
        if self.strategy == "moving" and amount > MOST_KEPT:
            raise ConfigurationError(f"{option} must be at most {MOST_KEPT} units for moving, not {rate!r}")
        gcra = self.burst or self.strategy == "gcra"
        if gcra and (2 * (self.burst or amount) + amount) * period > _EXACT:
            raise ConfigurationError(
                f"{option} and Limit.burst are too much for gcra in such a period: {rate!r}, {self.burst}"
            )
        return amount, seconds

    def _check_functions(self) -> None:
        for option in ("key", "rate", "count_when", "unless"):
            given = getattr(self, option)
            if iscoroutinefunction(given):
                raise ConfigurationError(f"Limit.{option} must be a plain function, not an async one")
            left_out = given is None and option in {"count_when", "unless"}
            if not callable(given) and not left_out and option != "rate":
                raise ConfigurationError(f"Limit.{option} must be a function, not {given!r}")

    def _check_choices(self) -> None:
        if self.strategy not in {None, *get_args(Strategy)}:
            raise ConfigurationError(
                f"Limit.strategy must be one of {', '.join(get_args(Strategy))}, not {self.strategy!r}"
            )
        if self.burst and self.strategy not in {None, "gcra"}:
            raise ConfigurationError(f"Limit.burst is for the strategy gcra, not {self.strategy!r}")
        if self.on_outage not in {None, *get_args(OnOutage)}:
            raise ConfigurationError(
                f"Limit.on_outage must be one of {', '.join(get_args(OnOutage))}, not {self.on_outage!r}"
            )

    @property
    def who(self) -> str:
        """What its key is called: ``ip``, ``user``, ``header``."""
        return str(getattr(self.key, "__name__", "")).removeprefix("by_")

    def rule(self, index: int, rate: str) -> Rule:
        """Return it as the limiters see it, at one *rate*. Raises `ConfigurationError` for nonsense."""
        amount, seconds = self._parse(rate)
        return Rule(
            index=index,
            name=self.name or "",
            amount=amount,
            period=seconds * 1000,
            cost=min(self.cost, self.burst or amount),
            who=self.who,
            strategy=self.strategy or ("gcra" if self.burst else "sliding"),
            burst=self.burst,
            shadow=self.shadow,
            late=self.count_when is not None,
            shared=self.scope or "",
        )
