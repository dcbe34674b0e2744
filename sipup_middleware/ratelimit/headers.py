"""What a client is told of its quota: draft-ietf-httpapi-ratelimit-headers-10, and what came before it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from sipup_middleware.asgi import Headers
from sipup_middleware.ratelimit.policy import Decision, Rule
from sipup_middleware.ratelimit.rules import Ask

__all__ = ("HeaderStyle", "QuotaHeaders")

HeaderStyle = Literal["draft-10", "legacy", "draft-10+legacy", "off"]

_DRAFT = frozenset({b"ratelimit", b"ratelimit-policy"})
_LEGACY = frozenset({b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"})
_KNOWN = 8192
"""Answers that are kept, as long as they are the same."""

_LENGTHS = frozenset(map(len, _DRAFT | _LEGACY))


class QuotaHeaders:
    """Writes the fields of one response, in the style asked for."""

    def __init__(self, rules: Sequence[Rule], style: HeaderStyle, *, dynamic: Collection[str] = ()) -> None:
        self._dynamic = frozenset(dynamic)
        self.on = style != "off"
        self._draft = "draft-10" in style
        self._legacy = "legacy" in style
        self._amounts = {rule.name: rule.amount for rule in rules}
        self._known: dict[tuple[bytes, str, int, int, int], Headers] = {}

    def add_to(
        self,
        given: Iterable[tuple[bytes, bytes]],
        policy: bytes,
        decision: Decision,
        asks: Sequence[Ask] = (),
    ) -> Headers:
        """Return the response's headers and ours; where the handler tells a quota of its own, that stands.

        *asks* know the amount of a rule whose rate depends on the request.
        """
        headers = list(given)
        draft, legacy = self._draft, self._legacy
        for name, _ in headers:
            if len(name) in _LENGTHS:
                lower = name.lower()
                draft = draft and lower not in _DRAFT
                legacy = legacy and lower not in _LEGACY
        if draft is not self._draft or legacy is not self._legacy or decision[1] in self._dynamic:
            headers += self._fields(policy, decision, asks, draft=draft, legacy=legacy)
            return headers
        # At any second most clients whose window ends together have the same few numbers left.
        key = policy, decision[1], decision[2], decision[3], decision[4]
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            known = self._known[key] = self._fields(policy, decision, asks, draft=draft, legacy=legacy)
        headers += known
        return headers

    def _fields(
        self, policy: bytes, decision: Decision, asks: Sequence[Ask], *, draft: bool, legacy: bool
    ) -> Headers:
        _, rule, remaining, reset, reset_at, *_ = decision
        fields = []
        if draft:
            fields += [
                (b"ratelimit-policy", policy),
                (b"ratelimit", b'"%b";r=%d;t=%d' % (rule.encode(), remaining, reset)),
            ]
        if legacy:
            fields += [
                (b"x-ratelimit-limit", b"%d" % self._amount(rule, asks)),
                (b"x-ratelimit-remaining", b"%d" % remaining),
                (b"x-ratelimit-reset", b"%d" % reset_at),
            ]
        return fields

    def _amount(self, name: str, asks: Sequence[Ask]) -> int:
        if name in self._dynamic:
            return next(rule.amount for rule, _ in asks if rule.name == name)
        return self._amounts[name]
