"""Counting in this process: dicts that change places, no timer, no lock, on any event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import random
from time import monotonic, time
from typing import NamedTuple

from sipup_middleware.ratelimit.backoff import Backoff, milliseconds
from sipup_middleware.ratelimit.bans import Bans, no_backoff
from sipup_middleware.ratelimit.counters import Counter, Key, Sliding, Turns, counter_for, key_of
from sipup_middleware.ratelimit.plain import PlainLimits
from sipup_middleware.ratelimit.policy import Decision, Rule, admission, made, refusal
from sipup_middleware.ratelimit.rules import Ask, Keyed

__all__ = ("MAX_KEYS", "MemoryLimiter", "anchored")

MAX_KEYS = 1 << 18
"""Clients a counter remembers in one window; the next one makes the window roll early."""


def anchored() -> Callable[[], float]:
    """Return a clock of seconds since 1970 that no change of the wall clock moves."""
    began = time() - monotonic()

    def now() -> float:
        return began + monotonic()

    return now


class _Seen(NamedTuple):
    """What one rule has to say of a request."""

    rule: Rule
    key: Key
    counter: Counter
    units: int
    wait: int


class MemoryLimiter:
    """Counts in this process. It never waits, so that a decision is atomic."""

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        clock: Callable[[], float] | None = None,
        max_keys: int = MAX_KEYS,
        backoff: Backoff | None = None,
        draw: Callable[[], float] = random,
    ) -> None:
        self.clock = clock or anchored()
        self._max_keys = max_keys
        self._bans = None if backoff is None else Bans(backoff, max_keys, draw)
        self._turns = Turns()
        self._counters: dict[str, Counter] = {}
        for rule in rules:
            self._counter(rule)

    @property
    def keys(self) -> int:
        """How many counters are held."""
        return sum(map(len, self._counters.values()))

    def clear(self) -> None:
        """Forget every count and every ban."""
        for counter in self._counters.values():
            counter.clear()
        if self._bans is not None:
            self._bans.clear()

    def plain(self, pairs: Sequence[Keyed]) -> PlainLimits | None:
        """Return what counts these rules in one pass; None where there is more to them than to count."""
        counted = [(pair, self._counter(pair[0])) for pair in pairs]
        windows = [(pair, each) for pair, each in counted if pair[0].plain and type(each) is Sliding]
        apart = len({id(each) for _, each in windows}) == len(counted)
        if self._bans is not None or not windows or not apart:
            return None
        return PlainLimits(windows, self._turns, clock=self.clock, max_keys=self._max_keys)

    def decide(self, asks: Sequence[Ask]) -> Decision:
        """Count one request against every rule, or against none if one refuses; *asks* is not empty.

        Late rules are looked at and not counted: that is for `count`.
        """
        now = self._now()
        seen = self._look(asks, now)
        refusing = None
        for each in seen:
            if each.wait and not each.rule.shadow and (refusing is None or each.wait > refusing.wait):
                refusing = each
        longest = 0 if refusing is None else refusing.wait
        if self._bans is not None and (decision := self._banned(self._bans, seen, longest, now)):
            return decision
        shadowed = tuple(each.rule.name for each in seen if each.wait and each.rule.shadow)
        if refusing is not None:
            return self._punish(refusing, shadowed, now)
        _take((each for each in seen if not each.rule.late), now)
        return _admit(seen, shadowed, now)

    def count(self, asks: Iterable[Ask]) -> None:
        """Count an answered request against the late rules among *asks*, whatever is left of them."""
        now = self._now()
        _take((each for each in self._look(asks, now) if each.rule.late), now)

    def peek(self, asks: Iterable[Ask]) -> list[Decision]:
        """Return what each rule would say now, and what is left before it is asked; counts nothing."""
        now = self._now()
        return [
            refusal(each.rule.name, each.wait, now)
            if each.wait
            else admission(each.rule.name, each.units, each.counter.resets(each.rule, each.key, now), now)
            for each in self._look(asks, now)
        ]

    def reset(self, rule: Rule, name: str) -> None:
        """Count a client anew."""
        self._counter(rule).forget(key_of(name))

    def strike(self, who: str, name: str) -> float:
        """Count a refusal that somebody else decided; return the seconds of the ban that it led to, or 0."""
        return 0 if self._bans is None else self._bans.strike((who, key_of(name)), self._now()) / 1000

    def ban(self, who: str, name: str, seconds: float) -> None:
        """Refuse a client whatever it asks, for *seconds* from now.

        Raises `ConfigurationError` where there is no `Backoff`: bans would not be looked up.
        """
        if self._bans is None:
            raise no_backoff()
        self._bans.ban((who, key_of(name)), milliseconds(seconds), self._now())

    def unban(self, who: str, name: str) -> None:
        """Forget a client's ban and what led to it."""
        if self._bans is not None:
            self._bans.unban((who, key_of(name)))

    def banned_for(self, who: str, name: str) -> float:
        """Return the seconds that a client is still banned; 0 = it is not."""
        return 0 if self._bans is None else self._bans.left((who, key_of(name)), self._now()) / 1000

    def _now(self) -> int:
        return milliseconds(self.clock())

    def _counter(self, rule: Rule) -> Counter:
        found = self._counters.get(rule.counter)
        if found is not None:
            return found
        made = self._counters[rule.counter] = counter_for(rule, self._max_keys, self._turns)
        return made

    def _look(self, asks: Iterable[Ask], now: int) -> list[_Seen]:
        seen = []
        for rule, name in asks:
            key, counter = key_of(name), self._counter(rule)
            seen.append(made(_Seen, (rule, key, counter, *counter.look(rule, key, now))))
        return seen

    def _punish(self, seen: _Seen, shadowed: tuple[str, ...], now: int) -> Decision:
        ban = 0 if self._bans is None else self._bans.strike((seen.rule.who, seen.key), now)
        return refusal(seen.rule.name, max(seen.wait, ban), now, banned=ban > 0, shadowed=shadowed)

    @staticmethod
    def _banned(bans: Bans, seen: list[_Seen], longest: int, now: int) -> Decision | None:
        """Refuse a banned client, by the first rule that enforces something on it."""
        if not bans:
            return None
        left, rule = 0, ""
        for each in seen:
            ban = bans.left((each.rule.who, each.key), now)
            if ban > left:
                left, rule = ban, ""
            if ban and ban == left and not rule and not each.rule.shadow:
                rule = each.rule.name
        return refusal(rule, max(left, longest), now, banned=True) if left else None


def _take(seen: Iterable[_Seen], now: int) -> None:
    """Count on each counter once; a shadow rule counts what it would have let through."""
    spent = {(each.rule.counter, each.key): each for each in seen if not (each.wait and each.rule.shadow)}
    for each in spent.values():
        each.counter.take(each.rule, each.key, now)


def _admit(seen: list[_Seen], shadowed: tuple[str, ...], now: int) -> Decision:
    tightest, least = None, 0
    for each in seen:
        left = each.units if each.rule.late else each.units - each.rule.cost
        if not each.rule.shadow and (tightest is None or left < least):
            tightest, least = each, left
    if tightest is None:
        return admission("", 0, 0, now, shadowed)
    resets = tightest.counter.resets(tightest.rule, tightest.key, now)
    return admission(tightest.rule.name, least, resets, now, shadowed)
