"""What happened to the connections of one pool, counted where it happens: on the pool's home.

Whoever reports it lives on the host's thread and comes by now and then: `changes` tells whether for nothing.
"""

from __future__ import annotations

from collections import deque

from sipup_middleware.telemetry import Fact

__all__ = ("EVENTS", "Tally")

EVENTS = ("dialled", "dropped", "leaked", "recycled", "reset", "shed", "timed_out")

_KEPT = 100
"""Facts kept for those who have not come by yet."""


class Tally:
    """Counts and facts of one pool."""

    __slots__ = ("_facts", "_told", "changes", "counts")

    def __init__(self) -> None:
        self.changes = 0
        """Grows with whatever is counted or told here."""
        self.counts = dict.fromkeys(EVENTS, 0)
        self._facts: deque[tuple[int, Fact]] = deque(maxlen=_KEPT)
        self._told = 0

    def count(self, event: str) -> None:
        """Count one of `EVENTS`."""
        self.counts[event] += 1
        self.changes += 1

    def tell(self, fact: Fact) -> None:
        """Have *fact* emitted when somebody comes by."""
        self._told += 1
        self._facts.append((self._told, fact))
        self.changes += 1

    def told_since(self, number: int) -> list[tuple[int, Fact]]:
        """Return the facts after the one of this *number*, the first is 1, with theirs."""
        return [each for each in list(self._facts) if each[0] > number]
