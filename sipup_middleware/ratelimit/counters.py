"""How each strategy counts in this process: bounded, without a timer, in constant time a request.

============  ==========================================================================================
``Sliding``   two numbers a client, in two dicts that change places as the window turns
``Fixed``     one number a client, dropped with the window
``Gcra``      what a client owes, and when that was so
``Moving``    every request of the last period, 16 bytes each: for small amounts
============  ==========================================================================================
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

from sipup_middleware.ratelimit.policy import Rule, faded, owed, until_drained, until_paid, wait

__all__ = (
    "LONGEST",
    "Counter",
    "Fixed",
    "Gcra",
    "Generations",
    "Key",
    "Moving",
    "Sliding",
    "Turns",
    "counter_for",
    "key_of",
)

LONGEST = 64
"""Characters of a client's name that are kept as they are."""

Key = str | bytes
"""A client's name; of a longer one, what `key_of` makes of it."""

V = TypeVar("V")


def key_of(name: str) -> Key:
    """Return *name*, or the digest of a long one: bytes, so that no client's name can be another's digest."""
    if len(name) <= LONGEST:
        return name
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Counter(Protocol):
    """What is counted of every client of one name and period; *now* and all times are milliseconds."""

    def look(self, rule: Rule, key: Key, now: int) -> tuple[int, int]:
        """Return the units left, and how long until the rule's cost is among them; 0 = it is."""

    def take(self, rule: Rule, key: Key, now: int) -> None:
        """Count a request, whatever is left."""

    def resets(self, rule: Rule, key: Key, now: int) -> int:
        """Return how long until what is counted now has no weight any more."""

    def forget(self, key: Key) -> None:
        """Count a client anew."""

    def clear(self) -> None:
        """Count everybody anew."""

    def __len__(self) -> int: ...


class Turns:
    """How often windows did anything else than count: what was made of their dicts is to be made anew."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Sliding:
    """The counts of the current window and of the one before."""

    __slots__ = ("begins", "current", "ends", "limit", "period", "previous", "turns")

    def __init__(self, period: int, limit: int, turns: Turns | None = None) -> None:
        self.period = period
        self.limit = limit
        self.turns = turns or Turns()
        self.clear()

    def __len__(self) -> int:
        return len(self.current) + len(self.previous)

    def clear(self) -> None:
        """Count everybody anew."""
        self.turns.count += 1
        self.begins = self.ends = 0
        self.current: dict[Key, int] = {}
        self.previous: dict[Key, int] = {}

    def turn(self, now: int) -> None:
        """Begin the window that *now* is in, if it is another."""
        if self.begins <= now < self.ends:
            return
        if now >= self.ends:
            self._roll(adjacent=now < self.ends + self.period)
        else:  # the clock was set back: what was counted is counted
            self.previous = {}
        self.turns.count += 1
        self.begins = now - now % self.period
        self.ends = self.begins + self.period

    def roll_early(self) -> None:
        """Forget the previous window: what a flood of clients costs is bounded."""
        self.turns.count += 1
        self.previous, self.current = self.current, {}

    def look(self, rule: Rule, key: Key, now: int) -> tuple[int, int]:
        """Return the units left, and how long until the rule's cost is among them; 0 = it is."""
        self.turn(now)
        current, previous, left = self.current.get(key, 0), self.previous.get(key, 0), self.ends - now
        units = rule.amount - current - faded(previous, left, self.period)
        return units, (0 if units >= rule.cost else wait(rule, previous, current, left))

    def take(self, rule: Rule, key: Key, now: int) -> None:
        """Count a request, whatever is left."""
        self.turn(now)
        self.write(key, self.current.get(key, 0) + rule.cost)

    def write(self, key: Key, count: int) -> None:
        """Set what the current window counts."""
        if len(self.current) >= self.limit and key not in self.current:
            self.roll_early()
        self.current[key] = count

    def take_back(self, key: Key, units: int) -> None:
        """Count what was just counted no more."""
        count = self.current.pop(key, 0) - units
        if count > 0:
            self.current[key] = count

    def resets(self, rule: Rule, key: Key, now: int) -> int:  # noqa: ARG002 (the protocol's)
        """Return how long until the window ends."""
        self.turn(now)
        return self.ends - now

    def forget(self, key: Key) -> None:
        """Count a client anew."""
        self.turns.count += 1
        self.current.pop(key, None)
        self.previous.pop(key, None)

    def _roll(self, *, adjacent: bool) -> None:
        self.previous = self.current if adjacent else {}
        self.current = {}


class Fixed(Sliding):
    """The counts of the current window, in a second dict too if there were too many for one."""

    __slots__ = ()

    def look(self, rule: Rule, key: Key, now: int) -> tuple[int, int]:
        """Return the units left, and how long until the window ends if they are too few."""
        self.turn(now)
        units = rule.amount - self._count(key)
        return units, (0 if units >= rule.cost else self.ends - now)

    def take(self, rule: Rule, key: Key, now: int) -> None:
        """Count a request, whatever is left."""
        self.turn(now)
        self.write(key, self._count(key) + rule.cost)

    def _count(self, key: Key) -> int:
        return self.current.get(key) or self.previous.get(key, 0)

    def _roll(self, *, adjacent: bool) -> None:  # noqa: ARG002 (a window that has ended weighs nothing)
        self.current, self.previous = {}, {}


class Generations(Generic[V]):
    """Values that live *life* to twice *life* from when they are set; too many, and the stalest go."""

    __slots__ = ("_ends", "_limit", "_new", "_old", "life")

    def __init__(self, life: int, limit: int) -> None:
        self.life = life
        self._limit = limit
        self.clear()

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def clear(self) -> None:
        """Forget everything."""
        self._ends = 0
        self._new: dict[object, V] = {}
        self._old: dict[object, V] = {}

    def get(self, key: object, now: int) -> V | None:
        """Return what was set, unless its time is over."""
        self._turn(now)
        found = self._new.get(key)
        return self._old.get(key) if found is None else found

    def set(self, key: object, value: V, now: int) -> None:
        """Hold *value*, in the place of what was there."""
        self._turn(now)
        self._old.pop(key, None)
        if len(self._new) >= self._limit and key not in self._new:
            self._new, self._old = {}, self._new
        self._new[key] = value

    def pop(self, key: object) -> None:
        """Forget one."""
        self._new.pop(key, None)
        self._old.pop(key, None)

    def _turn(self, now: int) -> None:
        if now < self._ends <= now + self.life:
            return
        if self._ends <= now < self._ends + self.life:
            self._new, self._old = {}, self._new
            self._ends += self.life
            return
        if now >= self._ends:
            self._new, self._old = {}, {}
        self._ends = now + self.life  # or the clock was set back


class _Kept(Generic[V]):
    """A counter that keeps one value a client."""

    __slots__ = ("_kept",)

    def __init__(self, period: int, limit: int) -> None:
        self._kept = Generations[V](period, limit)

    def __len__(self) -> int:
        return len(self._kept)

    def forget(self, key: Key) -> None:
        """Count a client anew."""
        self._kept.pop(key)

    def clear(self) -> None:
        """Count everybody anew."""
        self._kept.clear()


class Gcra(_Kept[tuple[int, int]]):
    """What each client owes, and when that was so."""

    __slots__ = ()

    def look(self, rule: Rule, key: Key, now: int) -> tuple[int, int]:
        """Return the units left, and how long until the rule's cost is among them; 0 = it is."""
        debt = self._debt(rule, key, now)
        return (rule.most * rule.period - debt) // rule.period, until_paid(rule, debt)

    def take(self, rule: Rule, key: Key, now: int) -> None:
        """Count a request, whatever is left."""
        debt = owed(rule, self._debt(rule, key, now) + rule.cost * rule.period, 0)
        self._kept.life = max(self._kept.life, until_drained(rule, debt))
        self._kept.set(key, (now, debt), now)

    def resets(self, rule: Rule, key: Key, now: int) -> int:
        """Return how long until nothing is owed."""
        return until_drained(rule, self._debt(rule, key, now))

    def _debt(self, rule: Rule, key: Key, now: int) -> int:
        at, debt = self._kept.get(key, now) or (now, 0)
        if at > now:  # the clock was set back
            self._kept.set(key, (now, debt), now)
        return owed(rule, debt, now - at)


class _Log:
    """When units were taken, and how many had been by then."""

    __slots__ = ("base", "times", "totals")

    def __init__(self) -> None:
        self.base = 0
        self.times = array("q")
        self.totals = array("q")

    @property
    def units(self) -> int:
        return self.totals[-1] - self.base if self.totals else 0

    def trim(self, now: int, period: int) -> None:
        """Drop what is a *period* old; what lies ahead, the clock having been set back, is of *now*."""
        if self.times and self.times[-1] > now:
            self._collapse(bisect_right(self.times, now), now)
        over = bisect_right(self.times, now - period)
        if over:
            self.base = self.totals[over - 1]
            del self.times[:over], self.totals[:over]

    def add(self, units: int, now: int) -> None:
        total = self.base + self.units + units
        if self.times and self.times[-1] == now:
            self.totals[-1] = total
            return
        self.times.append(now)
        self.totals.append(total)

    def until_free(self, units: int) -> int:
        """Return when so many of the `units` have become old, less the period."""
        return self.times[bisect_left(self.totals, self.base + units)]

    def _collapse(self, first: int, now: int) -> None:
        total = self.totals[-1]
        del self.times[first:], self.totals[first:]
        self.times.append(now)
        self.totals.append(total)


class Moving(_Kept[_Log]):
    """Every request of the last period: exact, and as large as the amount."""

    __slots__ = ()

    def look(self, rule: Rule, key: Key, now: int) -> tuple[int, int]:
        """Return the units left, and how long until the rule's cost is among them; 0 = it is."""
        log = self._log(rule, key, now)
        if log is None:
            return rule.amount, 0
        units = rule.amount - log.units
        if units >= rule.cost:
            return units, 0
        return units, log.until_free(rule.cost - units) + rule.period - now

    def take(self, rule: Rule, key: Key, now: int) -> None:
        """Count a request, whatever is left."""
        log = self._log(rule, key, now) or _Log()
        log.add(rule.cost, now)
        self._kept.set(key, log, now)

    def resets(self, rule: Rule, key: Key, now: int) -> int:
        """Return how long until the last request is a period old."""
        log = self._log(rule, key, now)
        return log.times[-1] + rule.period - now if log and log.times else 0

    def _log(self, rule: Rule, key: Key, now: int) -> _Log | None:
        log = self._kept.get(key, now)
        if log is not None:
            log.trim(now, rule.period)
        return log


_KINDS: dict[str, type[Sliding | Fixed | Gcra | Moving]] = {
    "sliding": Sliding,
    "fixed": Fixed,
    "gcra": Gcra,
    "moving": Moving,
}


def counter_for(rule: Rule, limit: int, turns: Turns | None = None) -> Sliding | Fixed | Gcra | Moving:
    """Return a counter as the rule's strategy has it, for *limit* clients at a time."""
    if rule.strategy == "sliding":
        return Sliding(rule.period, limit, turns)
    return _KINDS[rule.strategy](rule.period, limit)
