"""What follows from two counts: pure functions of plain values, in whole milliseconds.

A sliding window counter: the requests of the last period are estimated as those of the current aligned window
and the part of the previous one that the period still reaches into. `redis.SCRIPT` says the same in Lua, and
one suite of tests holds both to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ("UNAVAILABLE", "Decision", "Rule", "faded", "wait")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A limit as the limiters see it."""

    index: int
    name: str
    amount: int
    period: int
    """Milliseconds."""

    cost: int = 1


class Decision(NamedTuple):
    """The answer to one request, by the rule that leaves the least, or that refuses the longest."""

    allowed: bool
    rule: str
    """The rule's name."""

    remaining: int
    """Units left; 0 where refused."""

    reset: int
    """Whole seconds: until the rule's window ends or, where refused, until the same request is served."""

    reset_at: int
    """The same as seconds since 1970."""


UNAVAILABLE = Decision(allowed=False, rule="", remaining=0, reset=1, reset_at=0)
"""Nobody can count, and uncounted requests are not wanted."""


def faded(previous: int, left: int, period: int) -> int:
    """Return what the *previous* window's units still weigh while *left* remains of the current one."""
    return previous * left // period


def wait(rule: Rule, previous: int, current: int, left: int) -> int:
    """Return after how long a request of *rule* is served if nothing else is counted meanwhile; 0 = now."""
    room = rule.amount - rule.cost
    if current > room:  # not before the current window has become the previous one, and faded
        return left + max(0, rule.period - _fading(current, room, rule.period))
    if faded(previous, left, rule.period) <= room - current:
        return 0
    return left - _fading(previous, room - current, rule.period)


def _fading(count: int, room: int, period: int) -> int:
    """Return how much of its window may be left so that *count* weighs no more than *room*."""
    return ((room + 1) * period - 1) // count
