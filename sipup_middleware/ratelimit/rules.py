"""Which limits a request has to meet, worked out once for each combination that occurs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.types import Scope

from sipup_middleware.asgi import header, route_path
from sipup_middleware.ratelimit.keys import Key
from sipup_middleware.ratelimit.paths import PathTable, is_within
from sipup_middleware.ratelimit.policy import Rule

if TYPE_CHECKING:
    from sipup_middleware.ratelimit.plain import PlainLimits

__all__ = ("Ask", "Keyed", "KeyedRule", "Plain", "RuleTable", "Selection", "is_preflight")

_MOST = 256
"""Policies that are kept of one selection whose rates depend on the request."""

Ask = tuple[Rule, str]
"""A rule, and whom it counts."""

Keyed = tuple[Rule, Key]
"""A rule, and what tells whom it counts."""

Plain = Callable[[Sequence[Keyed]], "PlainLimits | None"]
"""Makes, where it can, one pass of some rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRule:
    """A rule, whom it counts, and the requests it is for; no paths or methods = all."""

    rule: Rule
    key: Key
    paths: Sequence[str] = ()
    methods: Sequence[str] = ()
    unless: Callable[[Scope], bool] | None = None
    rate: Callable[[Scope], Rule | None] | None = None
    """Where the rate depends on the request: gives its rule, in place of *rule*."""

    @property
    def plain(self) -> bool:
        """Whether nothing but its key decides who is counted."""
        return self.unless is None and self.rate is None

    def ask(self, scope: Scope) -> Ask | None:
        """Return whom it counts this request against; None = nobody."""
        if self.unless is not None and self.unless(scope):
            return None
        name = self.key(scope)
        rule = self.rule if self.rate is None or name is None else self.rate(scope)
        return None if name is None or rule is None else (rule, name)


class Selection:
    """The rules that some requests have in common."""

    __slots__ = ("_pairs", "_policies", "_special", "crowded", "plain", "policy", "watches")

    def __init__(
        self, rules: Sequence[KeyedRule], *, crowded: bool = False, plain: Plain | None = None
    ) -> None:
        self.crowded = crowded
        """Whether one address stands for many clients."""
        self._pairs = [(each.rule, each.key) for each in rules if each.plain]
        self._special = [each for each in rules if not each.plain]
        self._policies: dict[tuple[Rule, ...], bytes] = {}
        self.policy = _policy([each.rule for each in rules])
        """The value of RateLimit-Policy, where none of the rules depends on the request."""
        self.plain = plain(self._pairs) if plain is not None and not self._special else None
        """Counts all of them in one pass, where that can be done."""
        self.watches = any(each.rule.late for each in rules)
        """Whether a rule is counted by the response."""

    def ask(self, scope: Scope) -> list[Ask]:
        """Return whom each rule counts this request against; a rule without a client is left out."""
        asks = [(rule, name) for rule, key in self._pairs if (name := key(scope)) is not None]
        if self._special:
            asks += [ask for each in self._special if (ask := each.ask(scope)) is not None]
        return asks

    def policy_of(self, asks: Sequence[Ask]) -> bytes:
        """Return the value of RateLimit-Policy for a request that *asks* this."""
        if not self._special:
            return self.policy
        rules = tuple(rule for rule, _ in asks)
        policy = self._policies.get(rules)
        if policy is None:
            if len(self._policies) >= _MOST:
                self._policies.clear()
            policy = self._policies[rules] = _policy(rules)
        return policy


def _policy(rules: Sequence[Rule]) -> bytes:
    return ", ".join(
        f'"{each.name}";q={each.amount};w={each.period // 1000}' for each in rules if not each.shadow
    ).encode()


class RuleTable:
    """Finds the `Selection` of a request; one whose path no pattern matches meets the rules without one."""

    def __init__(
        self,
        rules: Sequence[KeyedRule],
        exempt: Sequence[str],
        *,
        crowded: bool = False,
        plain: Plain | None = None,
    ) -> None:
        self._rules = rules
        self._crowded = crowded
        self._plain = plain
        self._free = Selection((), crowded=crowded)
        self._exempt = tuple(exempt)
        self._everywhere = sum(1 << index for index, each in enumerate(rules) if not each.paths)
        self._paths = PathTable()
        for index, each in enumerate(rules):
            for pattern in each.paths:
                self._paths.add(pattern, 1 << index)
        methods = {method for each in rules for method in each.methods}
        self._by_method = {method: self._allowed(method) for method in methods}
        self._other_methods = self._allowed(None)
        self._selections: dict[int, Selection] = {}
        unconditional = not methods and not any(each.paths for each in rules)
        self._always = self._chosen(self._everywhere) if unconditional else None

    def select(self, scope: Scope) -> Selection | None:
        """Return the rules for this request: none for a browser's preflight; None for one that is exempt."""
        path: str = route_path(scope) if scope.get("root_path") else scope["path"]
        if path.startswith(self._exempt) and any(is_within(path, prefix) for prefix in self._exempt):
            return None
        method = scope.get("method", "GET")  # a websocket's handshake
        if method == "OPTIONS" and is_preflight(scope):
            return self._free
        if self._always is not None:
            return self._always
        bits = self._everywhere | self._paths.match(path)
        return self._chosen(bits & self._by_method.get(method, self._other_methods))

    def _chosen(self, bits: int) -> Selection:
        selection = self._selections.get(bits)
        if selection is None:
            chosen = [each for index, each in enumerate(self._rules) if bits >> index & 1]
            selection = self._selections[bits] = Selection(chosen, crowded=self._crowded, plain=self._plain)
        return selection

    def _allowed(self, method: str | None) -> int:
        return sum(
            1 << index for index, each in enumerate(self._rules) if not each.methods or method in each.methods
        )


def is_preflight(scope: Scope) -> bool:
    """Say whether an OPTIONS request is a browser's question about another one (Fetch, CORS protocol)."""
    return (
        header(scope, b"origin") is not None and header(scope, b"access-control-request-method") is not None
    )
