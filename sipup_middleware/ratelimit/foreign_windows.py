"""What each strategy asks of a storage of the library `limits`, one call at a time.

============  ==========================================================================================
``sliding``   the storage's sliding window counter; its plain counter where it has none
``fixed``     its plain counter, whose window begins with a client's first request
``moving``    its moving window
============  ==========================================================================================

The storage's numbers are read rather than its strategies' ``get_window_stats``, which know no cost: a client
that waits as long as it is told here is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple, Protocol

from limits.aio.storage import MovingWindowSupport, SlidingWindowCounterSupport, Storage

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.ratelimit.policy import Rule, Strategy, faded, wait

__all__ = ("Look", "Window", "check_strategies", "windows_of")

_ROUNDED = 500
"""Milliseconds that a counter may live on: Redis tells its end rounded to seconds."""


class Look(NamedTuple):
    """What is left for a client."""

    units: int

    wait: int
    """Milliseconds until the rule's cost is among them; 0 = it is."""

    resets: int
    """Milliseconds until what is counted now has no weight any more, or less."""


class Window(Protocol):
    """What is counted of a client, under a key of the storage."""

    async def look(self, rule: Rule, key: str) -> Look:
        """Return what is left; count nothing."""

    async def take(self, rule: Rule, key: str, amount: int) -> bool:
        """Count a request if no more than *amount* is counted then; say whether that is so."""

    async def clear(self, rule: Rule, key: str) -> None:
        """Count the client anew."""


@dataclass(frozen=True, slots=True)
class _Sliding:
    storage: SlidingWindowCounterSupport

    async def look(self, rule: Rule, key: str) -> Look:
        seconds = rule.period // 1000
        previous, previous_ends, current, current_ends = await self.storage.get_sliding_window(key, seconds)
        left = min(rule.period, max(0, ceil(1000 * max(previous_ends, current_ends - seconds))))
        if not left and not previous and not current:
            left = rule.period  # Redis' windows begin with a client's first request
        units = rule.amount - current - faded(previous, left, rule.period)
        until = 0 if units >= rule.cost else wait(rule, previous, current, left) + 1  # it reckons in floats
        return Look(units, until, left)

    async def take(self, rule: Rule, key: str, amount: int) -> bool:
        return await self.storage.acquire_sliding_window_entry(key, amount, rule.period // 1000, rule.cost)

    async def clear(self, rule: Rule, key: str) -> None:
        await self.storage.clear_sliding_window(key, rule.period // 1000)


@dataclass(frozen=True, slots=True)
class _Fixed:
    storage: Storage
    clock: Callable[[], float]

    async def look(self, rule: Rule, key: str) -> Look:
        count = await self.storage.get(key)
        if not count:
            return Look(rule.amount, 0, rule.period)
        left = _bounded(await self.storage.get_expiry(key) - self.clock(), _ROUNDED, rule)
        units = rule.amount - count
        return Look(units, 0 if units >= rule.cost else left, left)

    async def take(self, rule: Rule, key: str, amount: int) -> bool:
        return await self.storage.incr(key, rule.period // 1000, rule.cost) <= amount

    async def clear(self, rule: Rule, key: str) -> None:  # noqa: ARG002 (the protocol's)
        await self.storage.clear(key)


@dataclass(frozen=True, slots=True)
class _Moving:
    storage: Storage
    window: MovingWindowSupport
    clock: Callable[[], float]

    async def look(self, rule: Rule, key: str) -> Look:
        seconds = rule.period // 1000
        began, count = await self.window.get_moving_window(key, rule.amount, seconds)
        if not count:
            return Look(rule.amount, 0, rule.period)
        units = rule.amount - count
        if units >= rule.cost:
            return Look(units, 0, rule.period)
        is_oldest_enough = units + 1 >= rule.cost  # when the others were taken is not told
        until = _bounded(began + seconds - self.clock(), 1, rule) if is_oldest_enough else rule.period
        return Look(units, until, rule.period)

    async def take(self, rule: Rule, key: str, amount: int) -> bool:
        return await self.window.acquire_entry(key, amount, rule.period // 1000, rule.cost)

    async def clear(self, rule: Rule, key: str) -> None:  # noqa: ARG002 (the protocol's)
        await self.storage.clear(key)


def check_strategies(storage: Storage, rules: Iterable[Rule]) -> None:
    """Raise `ConfigurationError` for a rule that *storage* cannot count."""
    kind = type(storage).__name__
    for rule in rules:
        if rule.strategy == "gcra":
            raise ConfigurationError(
                f"Limit.strategy: {rule.name!r} is gcra (as every limit with a burst), which the {kind} of "
                "RateLimit.storage cannot count; memory:// and redis:// can"
            )
        if rule.strategy == "moving" and not isinstance(storage, MovingWindowSupport):
            raise ConfigurationError(
                f"Limit.strategy: {rule.name!r} is moving, which the {kind} of RateLimit.storage cannot count"
            )


def windows_of(
    storage: Storage, rules: Iterable[Rule], clock: Callable[[], float]
) -> Mapping[Strategy, Window]:
    """Return how *storage* counts each strategy of *rules*. Raises `ConfigurationError` where it cannot."""
    check_strategies(storage, rules)
    fixed = _Fixed(storage, clock)
    windows: dict[Strategy, Window] = {"fixed": fixed, "sliding": fixed}
    if isinstance(storage, SlidingWindowCounterSupport):
        windows["sliding"] = _Sliding(storage)
    if isinstance(storage, MovingWindowSupport):
        windows["moving"] = _Moving(storage, storage, clock)
    return windows


def _bounded(seconds: float, more: int, rule: Rule) -> int:
    """Return *seconds* and *more* in milliseconds, if a window of *rule* has so much left."""
    return min(max(1, ceil(1000 * seconds) + more), rule.period)
