"""What holds for requests that come through a balancer which nobody named."""

from __future__ import annotations

from starlette.types import Scope

from sipup_middleware.ratelimit.balancer import Balancer
from sipup_middleware.ratelimit.rules import RuleTable
from sipup_middleware.telemetry import Reading, Telemetry, WarningRaised

__all__ = ("Detour",)


class Detour:
    """The rules for them, and the warning, told once, that says what to write."""

    def __init__(self, rules: RuleTable, telemetry: Telemetry) -> None:
        self.rules = rules
        self._balancer = Balancer()
        self._telemetry = telemetry
        self._warned = False

    def sees(self, scope: Scope) -> bool:
        """Say whether a request came through one."""
        seen = self._balancer.sees(scope)
        if seen and not self._warned:
            self._warned = True
            self._telemetry.emit(
                WarningRaised(
                    "ratelimit",
                    "a balancer stands in front and is not trusted, so the limit by address refuses nobody; "
                    f"say: {self._balancer.line}",
                )
            )
        return seen

    async def check(self) -> Reading:
        """Answer readiness: is the limit by address in force?"""
        if not self._balancer.found:
            return Reading()
        return Reading(
            status="warn", output=f"the limit by address refuses nobody; say: {self._balancer.line}"
        )
