"""When to stop asking a server that does not answer, and when to ask again."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

__all__ = ("Breaker",)

_ERRORS = 5
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0


class Breaker:
    """Open after five errors in a row; then one probe a pause, each pause twice the last."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self.is_open = False
        self._clock = clock
        self._errors = 0
        self._pause = _FIRST_PAUSE
        self._probe_at = 0.0

    def admits(self) -> bool:
        """Say whether to ask now; while open, the caller that hears True is the probe."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._probe_at:
            return False
        self._rest(now)
        return True

    def succeed(self) -> bool:
        """Count an answer; True = this one closed the breaker."""
        self._errors = 0
        closed, self.is_open = self.is_open, False
        return closed

    def fail(self) -> bool:
        """Count an error; True = this one opened the breaker."""
        self._errors += 1
        if self.is_open or self._errors < _ERRORS:
            return False
        self.is_open = True
        self._pause = _FIRST_PAUSE
        self._rest(self._clock())
        return True

    def _rest(self, now: float) -> None:
        self._probe_at = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
