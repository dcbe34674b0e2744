"""Which limits a request has to meet, worked out once for each combination that occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import Scope

from sipup_middleware.asgi import header, route_path
from sipup_middleware.ratelimit.keys import Key
from sipup_middleware.ratelimit.paths import PathTable, is_within
from sipup_middleware.ratelimit.policy import Rule

__all__ = ("KeyedRule", "RuleTable", "Selection", "is_preflight")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRule:
    """A rule, whom it counts, and the requests it is for; no paths or methods = all."""

    rule: Rule
    key: Key
    paths: Sequence[str] = ()
    methods: Sequence[str] = ()


class Selection:
    """The rules that some requests have in common."""

    __slots__ = ("pairs", "policy")

    def __init__(self, rules: Sequence[KeyedRule]) -> None:
        self.pairs = [(each.rule, each.key) for each in rules]
        self.policy = ", ".join(
            f'"{each.rule.name}";q={each.rule.amount};w={each.rule.period // 1000}' for each in rules
        ).encode()

    def ask(self, scope: Scope) -> list[tuple[Rule, str]]:
        """Return whom each rule counts this request against; a rule without a client is left out."""
        return [(rule, name) for rule, key in self.pairs if (name := key(scope)) is not None]


_FREE = Selection(())


class RuleTable:
    """Finds the `Selection` of a request; one whose path no pattern matches meets the rules without one."""

    def __init__(self, rules: Sequence[KeyedRule], exempt: Sequence[str]) -> None:
        self._rules = rules
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

    def select(self, scope: Scope) -> Selection:
        """Return the rules for this request: none for one that is exempt, or a browser's preflight."""
        path: str = route_path(scope) if scope.get("root_path") else scope["path"]
        if path.startswith(self._exempt) and any(is_within(path, prefix) for prefix in self._exempt):
            return _FREE
        if scope["method"] == "OPTIONS" and is_preflight(scope):
            return _FREE
        if self._always is not None:
            return self._always
        bits = self._everywhere | self._paths.match(path)
        return self._chosen(bits & self._by_method.get(scope["method"], self._other_methods))

    def _chosen(self, bits: int) -> Selection:
        selection = self._selections.get(bits)
        if selection is None:
            chosen = [each for index, each in enumerate(self._rules) if bits >> index & 1]
            selection = self._selections[bits] = Selection(chosen)
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
