"""Limits that count nobody are worth a word: the first requests tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sipup_middleware.ratelimit.rules import Ask
from sipup_middleware.telemetry import Telemetry, WarningRaised

__all__ = ("REQUESTS", "Trial")

REQUESTS = 1000
"""After so many a limit that applied to none of them is warned of."""


class Trial:
    """Watches for limits that are for every request and apply to none: by user, where nobody logs in."""

    def __init__(self, names: Iterable[str], telemetry: Telemetry) -> None:
        self.left = REQUESTS
        """Requests to come; 0 = it is over."""

        self._idle = set(names)
        self._telemetry = telemetry

    def saw(self, asks: Sequence[Ask]) -> None:
        """Take note of whom a request was counted against."""
        self._idle.difference_update([rule.name for rule, _ in asks])
        self.left = self.left - 1 if self._idle else 0
        if self.left == 0:
            for name in sorted(self._idle):
                self._telemetry.emit(
                    WarningRaised("ratelimit", f"the limit {name!r} applied to none of {REQUESTS} requests")
                )
