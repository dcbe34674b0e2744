"""Counting in this process: dicts that change places, no timer, no lock, on any event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from random import random
from sys import maxsize
from time import monotonic, time
from typing import NamedTuple

from sipup_middleware.ratelimit.backoff import Backoff, milliseconds
from sipup_middleware.ratelimit.bans import Bans, no_backoff
from sipup_middleware.ratelimit.counters import Counter, Key, Sliding, counter_for
from sipup_middleware.ratelimit.policy import Decision, Rule, faded, wait

__all__ = ("MAX_KEYS", "MemoryLimiter", "anchored")

MAX_KEYS = 1 << 18
"""Clients a counter remembers in one window; the next one makes the window roll early."""

_LONGEST = 64
"""Characters of a client's name that are kept as they are."""

_made = tuple.__new__  # a third of the time that the keywords of a NamedTuple take


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
        self._counters: dict[str, Counter] = {}
        self._plain: dict[str, Sliding] = {}
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

    def decide(self, asks: Sequence[tuple[Rule, str]]) -> Decision:  # noqa: C901 (the hot path: a call costs as much as a rule)
        """Count one request against every rule, or against none if one refuses; *asks* is not empty.

        Late rules are looked at and not counted: that is for `count`.
        """
        now = int(self.clock() * 1000 + 0.5)
        plain = self._plain
        spent: list[tuple[Sliding, Key, int]] = []
        tightest, least, resets = "", maxsize, 0
        for rule, name in asks:
            try:
                window = plain[rule.plain]
            except KeyError:  # free where nothing is raised, unlike dict.get
                return self._weigh(asks, now)
            ends = window.ends
            if now >= ends or now < window.begins:
                window.turn(now)
                ends = window.ends
            key = name if len(name) <= _LONGEST else _short(name)
            count = window.current.get(key, 0) + rule.cost
            previous = window.previous.get(key)
            remaining = rule.amount - count
            if previous:
                remaining -= faded(previous, ends - now, window.period)
            if remaining < 0:
                return self._refuse(asks, now)
            if remaining < least:
                tightest, least, resets = rule.name, remaining, ends - now
            spent.append((window, key, count))
        for window, key, count in spent:
            current = window.current
            if len(current) < self._max_keys:
                current[key] = count
            else:
                window.write(key, count)
        return _made(
            Decision, (True, tightest, least, -(-resets // 1000), -(-(now + resets) // 1000), False, ())
        )

    def count(self, asks: Iterable[tuple[Rule, str]]) -> None:
        """Count an answered request against the late rules among *asks*, whatever is left of them."""
        now = self._now()
        _take((each for each in self._look(asks, now) if each.rule.late), now)

    def peek(self, asks: Iterable[tuple[Rule, str]]) -> list[Decision]:
        """Return what each rule would say now, and what is left before it is asked; counts nothing."""
        now = self._now()
        return [
            _refusal(each.rule.name, each.wait, now)
            if each.wait
            else _admission(each.rule.name, each.units, each.counter.resets(each.rule, each.key, now), now)
            for each in self._look(asks, now)
        ]

    def reset(self, rule: Rule, name: str) -> None:
        """Count a client anew."""
        self._counter(rule).forget(_key(name))

    def strike(self, who: str, name: str) -> float:
        """Count a refusal that somebody else decided; return the seconds of the ban that it led to, or 0."""
        return 0 if self._bans is None else self._bans.strike((who, _key(name)), self._now()) / 1000

    def ban(self, who: str, name: str, seconds: float) -> None:
        """Refuse a client whatever it asks, for *seconds* from now.

        Raises `ConfigurationError` where there is no `Backoff`: bans would not be looked up.
        """
        if self._bans is None:
            raise no_backoff()
        self._bans.ban((who, _key(name)), milliseconds(seconds), self._now())

    def unban(self, who: str, name: str) -> None:
        """Forget a client's ban and what led to it."""
        if self._bans is not None:
            self._bans.unban((who, _key(name)))

    def banned_for(self, who: str, name: str) -> float:
        """Return the seconds that a client is still banned; 0 = it is not."""
        return 0 if self._bans is None else self._bans.left((who, _key(name)), self._now()) / 1000

    def _now(self) -> int:
        return milliseconds(self.clock())

    def _counter(self, rule: Rule) -> Counter:
        found = self._counters.get(rule.counter)
        if found is not None:
            return found
        made = self._counters[rule.counter] = counter_for(rule, self._max_keys)
        if self._bans is None and type(made) is Sliding:
            self._plain[rule.counter] = made
        return made

    def _look(self, asks: Iterable[tuple[Rule, str]], now: int) -> list[_Seen]:
        seen = []
        for rule, name in asks:
            key, counter = _key(name), self._counter(rule)
            seen.append(_made(_Seen, (rule, key, counter, *counter.look(rule, key, now))))
        return seen

    def _refuse(self, asks: Sequence[tuple[Rule, str]], now: int) -> Decision:
        tightest, longest = "", 0
        for rule, name in asks:
            window = self._plain.get(rule.plain)
            if window is None:
                return self._weigh(asks, now)
            window.turn(now)
            key = name if len(name) <= _LONGEST else _short(name)
            refused_for = wait(
                rule, window.previous.get(key, 0), window.current.get(key, 0), window.ends - now
            )
            if refused_for > longest:
                tightest, longest = rule.name, refused_for
        return _refusal(tightest, longest, now)

    def _weigh(self, asks: Sequence[tuple[Rule, str]], now: int) -> Decision:
        """Decide where there is more to it than to count."""
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

    def _punish(self, seen: _Seen, shadowed: tuple[str, ...], now: int) -> Decision:
        ban = 0 if self._bans is None else self._bans.strike((seen.rule.who, seen.key), now)
        return _refusal(seen.rule.name, max(seen.wait, ban), now, banned=ban > 0, shadowed=shadowed)

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
        return _refusal(rule, max(left, longest), now, banned=True) if left else None


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
        return _admission("", 0, 0, now, shadowed)
    resets = tightest.counter.resets(tightest.rule, tightest.key, now)
    return _admission(tightest.rule.name, least, resets, now, shadowed)


def _admission(rule: str, left: int, resets: int, now: int, shadowed: tuple[str, ...] = ()) -> Decision:
    return _made(
        Decision, (True, rule, left, -(-resets // 1000), -(-(now + resets) // 1000), False, shadowed)
    )


def _refusal(
    rule: str, wait: int, now: int, *, banned: bool = False, shadowed: tuple[str, ...] = ()
) -> Decision:
    return _made(Decision, (False, rule, 0, -(-wait // 1000), -(-(now + wait) // 1000), banned, shadowed))


def _key(name: str) -> Key:
    return name if len(name) <= _LONGEST else _short(name)


def _short(name: str) -> bytes:
    """Bytes, so that no client's name can be another's digest."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
