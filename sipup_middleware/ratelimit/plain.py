"""Plain limits that requests meet together, counted in this process in one pass.

Plain is a sliding window that always applies, refuses at once and bans nobody: what most limits are. The pass
counts as it goes and takes back what it counted where a later limit refuses. What refuses a client is known
until it is over: the next refusal of a flood needs no arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import maxsize

from starlette.types import Scope

from sipup_middleware.ratelimit.counters import LONGEST, Key, Sliding, Turns, key_of
from sipup_middleware.ratelimit.keys import ByHeader, Identity, credential
from sipup_middleware.ratelimit.policy import Decision, Rule, made, refusal, wait
from sipup_middleware.ratelimit.rules import Ask, Keyed

__all__ = ("Counted", "PlainLimits")

Counted = tuple[Keyed, Sliding]
"""A rule, whom it counts, and where."""

_MOST_REFUSED = 1 << 16
"""Refusals that are known of one limit; one more, and all are worked out anew."""

_Known = dict[Key, tuple[int, Decision]]
"""Whom a rule is the first to refuse, until when, and how. While no window turns, that does not change."""

_Part = tuple[
    *tuple[Callable[[Scope], str | None], Rule, dict[Key, int], dict[Key, int], _Known],
    *tuple[int, int, int, int, int, str],
]


class PlainLimits:
    """Counts the rules of one selection, no two of them on the same counter."""

    __slots__ = (
        "_clock",
        "_counted",
        "_ends",
        "_first",
        "_most",
        "_parts",
        "_seen",
        "_since",
        "_turns",
        "direct",
    )

    def __init__(
        self, counted: Sequence[Counted], turns: Turns, *, clock: Callable[[], float], max_keys: int
    ) -> None:
        self.direct = all(isinstance(key, ByHeader) or _is_ours(key) for (_, key), _ in counted)
        """Whether no key asks the request's context, which then need not be there."""
        self._counted = counted
        self._turns = turns
        self._clock = clock
        self._most = max_keys
        self._first = counted[0][0][0]
        self._seen = -1
        self._since = self._ends = 0
        self._parts: list[_Part] = []

    def asks(self, names: Sequence[str | None]) -> list[Ask]:
        """Return whom each rule counts, from the *names* that `decide` was told."""
        asked: object = None
        name: str | None = None
        given, asks = iter(names), list[Ask]()
        for (rule, key), _ in self._counted:
            if key is not asked:
                asked, name = key, next(given, None)
            if name is not None:
                asks.append((rule, name))
        return asks

    def decide(self, scope: Scope, names: list[str | None]) -> Decision | None:  # noqa: C901, PLR0912 (the hot path: a call costs as much as a rule)
        """Count one request against every rule, or against none if one refuses; None = nobody is counted.

        *names* is given what each key told: for `asks`; of a refusal that was told before, nothing.
        """
        now = int(self._clock() * 1000 + 0.5)
        if now >= self._ends or self._seen != self._turns.count or now < self._since:
            self._turn(now)
        tightest, least, resets, resets_at = "", maxsize, 0, 0
        asked = name = None
        client: Key = ""
        for key, rule, current, previous, known, ends, at, period, cost, amount, title in self._parts:
            if key is not asked:  # most often the next rule counts the same client
                asked, name = key, key(scope)
                names.append(name)
                if name is not None:
                    client = name if len(name) <= LONGEST else key_of(name)
            if name is None:
                continue
            count = current.get(client, 0) + cost
            remaining = amount - count
            if previous:
                remaining -= previous.get(client, 0) * (ends - now) // period
            if remaining < 0:
                if rule is not self._first:
                    self._take_back(rule, names)
                names.clear()
                refused = known.get(client)
                if refused is not None and refused[0] > now:  # and nothing that is refused counts
                    return _still(known, client, now)
                return self._refuse(scope, known, client, names, now)
            if remaining < least:
                tightest, least, resets, resets_at = title, remaining, ends - now, at
            if count > cost or len(current) < self._most:
                current[client] = count
            else:
                self._window(rule).write(client, count)
        if not tightest:
            return None
        return made(Decision, (True, tightest, least, -(-resets // 1000), resets_at, False, ()))

    def _turn(self, now: int) -> None:
        """Begin the windows that *now* is in, and look at their dicts: these change only with the turns."""
        for _, window in self._counted:
            window.turn(now)
        self._since = max(window.begins for _, window in self._counted)
        self._ends = min(window.ends for _, window in self._counted)
        self._seen = self._turns.count
        self._parts = [
            (
                *(key, rule, window.current, window.previous, dict[Key, tuple[int, Decision]]()),
                *(window.ends, window.ends // 1000, window.period),
                *(rule.cost, rule.amount, rule.name),
            )
            for (rule, key), window in self._counted
        ]

    def _window(self, rule: Rule) -> Sliding:
        return next(window for (each, _), window in self._counted if each is rule)

    def _take_back(self, refusing: Rule, names: Sequence[str | None]) -> None:
        for rule, name in self.asks(names):
            if rule is refusing:
                return
            self._window(rule).take_back(key_of(name), rule.cost)

    def _refuse(
        self, scope: Scope, known: _Known, client: Key, names: list[str | None], now: int
    ) -> Decision:
        """Find the rule that refuses the longest, and remember it."""
        asked = None
        for (_, key), _ in self._counted:
            if key is not asked:
                asked = key
                names.append(key(scope))
        tightest, longest = "", 0
        for rule, name in self.asks(names):
            window, counted = self._window(rule), key_of(name)
            current, previous = window.current.get(counted, 0), window.previous.get(counted, 0)
            refused_for = wait(rule, previous, current, window.ends - now)
            if refused_for > longest:
                tightest, longest = rule.name, refused_for
        decision = refusal(tightest, longest, now)
        if len(known) >= _MOST_REFUSED:
            known.clear()
        known[client] = now + longest, decision
        return decision


def _still(known: _Known, client: Key, now: int) -> Decision:
    """Return the refusal that is *known*, its reset being what is left of it."""
    until, decision = known[client]
    if decision[3] != -(-(until - now) // 1000):
        decision = refusal(decision[1], until - now, now)
        known[client] = until, decision
    return decision


def _is_ours(key: object) -> bool:
    return isinstance(getattr(key, "__self__", None), Identity) or key is credential
