"""Refusals that are still true: a client that floods is turned away without asking the server again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import ceil
from time import monotonic

from sipup_middleware.ratelimit.policy import Decision

__all__ = ("LONGEST", "MAX_DENIED", "DenyCache")

MAX_DENIED = 1 << 16
"""Refusals held; the next one drops the oldest."""

LONGEST = 5.0
"""Seconds that a refusal is believed: what another worker unbans is served again after no more than that."""


class DenyCache:
    """Remembers what was refused, and until when; without timers, what is stale is dropped as it is met."""

    def __init__(self, *, clock: Callable[[], float] = monotonic, size: int = MAX_DENIED) -> None:
        self._clock = clock
        self._size = size
        self._held: OrderedDict[Hashable, tuple[float, Decision]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, asks: Hashable) -> Decision | None:
        """Return the refusal that still stands for *asks*, its reset being what is left of it."""
        found = self._held.get(asks)
        if found is None:
            return None
        deadline, decision = found
        left = deadline - self._clock()
        if left <= 0:
            del self._held[asks]
            return None
        elapsed = _belief(decision) - left
        reset = min(decision.reset, max(1, ceil(decision.reset - elapsed)))
        return decision if reset == decision.reset else decision._replace(reset=reset)

    def put(self, asks: Hashable, decision: Decision) -> None:
        """Remember a refusal; a *decision* that allows, or that is over, is not remembered."""
        if decision.allowed or decision.reset < 1:
            return
        now = self._clock()
        self._held.pop(asks, None)
        self._held[asks] = (now + _belief(decision), decision)
        self._drop(now)

    def forget(self, asks: Hashable) -> None:
        """Forget one refusal."""
        self._held.pop(asks, None)

    def clear(self) -> None:
        """Forget every refusal."""
        self._held.clear()

    def _drop(self, now: float) -> None:
        """Drop the oldest if it is one too many, and what is over: two a time keep up with any flood."""
        if len(self._held) > self._size:
            self._held.popitem(last=False)
        for _ in range(2):
            deadline, _ = next(iter(self._held.values()))
            if deadline > now:
                return
            self._held.popitem(last=False)


def _belief(decision: Decision) -> float:
    return min(float(decision.reset), LONGEST)
