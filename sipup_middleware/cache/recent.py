"""Remember for a moment what went wrong, so that nobody waits in vain for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from time import monotonic

__all__ = ("Recent",)

_MOST = 8192


class Recent:
    """Keys that were added in the last *seconds*.

    Only hashes are kept, so that the memory is bounded; two that meet cost a call, never a wrong answer.
    """

    __slots__ = ("_clock", "_seconds", "_until")

    def __init__(self, seconds: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: dict[int, float] = {}

    def add(self, key: Hashable) -> None:
        """Remember *key*; the oldest is forgotten where there are too many."""
        mark = hash(key)
        self._until.pop(mark, None)
        self._until[mark] = self._clock() + self._seconds
        if len(self._until) > _MOST:
            del self._until[next(iter(self._until))]

    def __contains__(self, key: Hashable) -> bool:
        until = self._until.get(hash(key)) if self._until else None
        return until is not None and self._clock() < until
