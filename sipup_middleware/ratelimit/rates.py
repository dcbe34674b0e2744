"""The rates that a function gives: each worked out once, a bounded number of them."""

from __future__ import annotations

from starlette.types import Scope

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.ratelimit.limit import Limit
from sipup_middleware.ratelimit.policy import Rule
from sipup_middleware.telemetry import LimitFellBack, Telemetry

__all__ = ("RECOVERED", "DynamicRate")

RECOVERED = 100
"""Rates told in a row after which a function no longer fails: one that fails for some is news once."""

_MOST = 64
"""Different rates of one limit; a function that invents one a client would fill the memory."""


class DynamicRate:
    """Gives the rule of a request, by the limit's function; where that fails, the limit's default."""

    def __init__(self, limit: Limit, index: int, telemetry: Telemetry) -> None:
        assert callable(limit.rate)  # noqa: S101 (what it is made for)
        self._limit = limit
        self._index = index
        self._rate_of = limit.rate
        self._telemetry = telemetry
        self._default = limit.rule(index, limit.default)
        self._rules: dict[str, Rule] = {}
        self._to_recover = 0

    def __call__(self, scope: Scope) -> Rule | None:
        """Return the rule for this request; None = it is free."""
        try:
            rate = self._rate_of(scope)
            if rate is None:
                return None
            rule = self._rules.get(rate) or self._learn(rate)
        except Exception as error:  # noqa: BLE001 (a plan that cannot be looked up must not fail the request)
            if not self._to_recover:
                self._telemetry.emit(LimitFellBack(self._default.name, type(error).__name__))
            self._to_recover = RECOVERED
            return self._default
        if self._to_recover:
            self._to_recover -= 1
        return rule

    def _learn(self, rate: str) -> Rule:
        if len(self._rules) >= _MOST:
            raise ConfigurationError(f"more than {_MOST} different rates")
        rule = self._rules[rate] = self._limit.rule(self._index, rate)
        return rule
