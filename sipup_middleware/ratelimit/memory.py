"""Counting in this process: two dicts a rule, no timer, no lock, on any event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from sys import maxsize
from time import monotonic, time

from sipup_middleware.ratelimit.policy import Decision, Rule, faded, wait

__all__ = ("MAX_KEYS", "MemoryLimiter", "anchored")

MAX_KEYS = 1 << 18
"""Clients a rule remembers in one window; the next one makes the window roll early."""

_LONGEST = 64
"""Characters of a client's name that are kept as they are."""

_decision = tuple.__new__  # a third of the time that the keywords of a NamedTuple take


def anchored() -> Callable[[], float]:
    """Return a clock of seconds since 1970 that no change of the wall clock moves."""
    began = time() - monotonic()

    def now() -> float:
        return began + monotonic()

    return now


class _Window:
    """The counts of one rule: in the current window and in the one before."""

    __slots__ = ("current", "ends", "previous")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.ends = 0
        self.current: dict[str | bytes, int] = {}
        self.previous: dict[str | bytes, int] = {}

    def roll(self, now: int, period: int) -> None:
        """Begin the window that *now* is in."""
        adjacent = now < self.ends + period
        self.ends = (now // period + 1) * period
        self.previous = self.current if adjacent else {}
        self.current = {}

    def left(self, now: int, period: int) -> int:
        """Return what remains of the window; all of it if an injected clock went back."""
        return min(self.ends - now, period)

    def roll_early(self) -> None:
        """Forget the previous window: what a flood of clients costs is bounded."""
        self.previous, self.current = self.current, {}


class MemoryLimiter:
    """Counts in this process. It never waits, so that a decision is atomic."""

    def __init__(
        self, rules: Sequence[Rule], *, clock: Callable[[], float] | None = None, max_keys: int = MAX_KEYS
    ) -> None:
        self.clock = clock or anchored()
        self._max_keys = max_keys
        self._windows = [_Window() for _ in rules]

    @property
    def keys(self) -> int:
        """How many counters are held."""
        return sum(len(window.current) + len(window.previous) for window in self._windows)

    def clear(self) -> None:
        """Forget every count."""
        for window in self._windows:
            window.clear()

    def decide(self, asks: Sequence[tuple[Rule, str]]) -> Decision:
        """Count one request against every rule, or against none if one refuses; *asks* is not empty."""
        now = int(self.clock() * 1000 + 0.5)
        windows = self._windows
        spent: list[tuple[_Window, str | bytes, int]] = []
        tightest, least, resets = "", maxsize, 0
        for rule, name in asks:
            window = windows[rule.index]
            if now >= window.ends:
                window.roll(now, rule.period)
            key = name if len(name) <= _LONGEST else _short(name)
            count = window.current.get(key, 0) + rule.cost
            previous = window.previous.get(key)
            remaining = rule.amount - count
            if previous:
                remaining -= faded(previous, window.left(now, rule.period), rule.period)
            if remaining < 0:
                return self._refuse(asks, now)
            if remaining < least:
                tightest, least, resets = rule.name, remaining, window.ends - now
            spent.append((window, key, count))
        for window, key, count in spent:
            if len(window.current) >= self._max_keys and key not in window.current:
                window.roll_early()
            window.current[key] = count
        return _decision(Decision, (True, tightest, least, -(-resets // 1000), -(-(now + resets) // 1000)))

    def _refuse(self, asks: Sequence[tuple[Rule, str]], now: int) -> Decision:
        tightest, longest = "", 0
        for rule, name in asks:
            window = self._windows[rule.index]
            if now >= window.ends:
                window.roll(now, rule.period)
            key = name if len(name) <= _LONGEST else _short(name)
            refused_for = wait(
                rule, window.previous.get(key, 0), window.current.get(key, 0), window.left(now, rule.period)
            )
            if refused_for > longest:
                tightest, longest = rule.name, refused_for
        return _decision(Decision, (False, tightest, 0, -(-longest // 1000), -(-(now + longest) // 1000)))


def _short(name: str) -> bytes:
    """Bytes, so that no client's name can be another's digest."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
