"""When to stop asking a server that does not answer, and when to try again."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

__all__ = ("Breaker",)


class Breaker:
    """Opens after *threshold* failures in a row; then one caller at a time probes, less and less often."""

    def __init__(
        self,
        *,
        threshold: int = 5,
        pause: float = 0.5,
        longest_pause: float = 30.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._threshold = threshold
        self._first_pause = pause
        self._longest_pause = longest_pause
        self._clock = clock
        self._failures = 0
        self._pause = pause
        self._probe_at = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether the server is given up for now."""
        return self._failures >= self._threshold

    def allows(self) -> bool:
        """Say whether to ask; whoever is told so must report `succeeded`, `failed` or `abandoned`."""
        if not self.is_open:
            return True
        if self._probing or self._clock() < self._probe_at:
            return False
        self._probing = True
        return True

    def succeeded(self) -> bool:
        """Close; return whether it was open."""
        was_open = self.is_open
        self._failures = 0
        self._probing = False
        self._pause = self._first_pause
        return was_open

    def failed(self) -> bool:
        """Count a failure; return whether it was the one that opened the breaker."""
        if not self.is_open:
            self._failures += 1
            self._probe_at = self._clock() + self._pause
            return self.is_open
        if self._probing:
            self._probing = False
            self._pause = min(2 * self._pause, self._longest_pause)
            self._probe_at = self._clock() + self._pause
        return False

    def abandoned(self) -> None:
        """Let another caller probe: this one was cancelled."""
        self._probing = False
