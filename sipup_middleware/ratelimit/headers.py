"""What a client is told of its quota: draft-ietf-httpapi-ratelimit-headers-10, and what came before it."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence
from typing import Literal

from starlette.types import Message, Send

from sipup_middleware.asgi import Headers
from sipup_middleware.ratelimit.policy import Decision, Rule
from sipup_middleware.ratelimit.rules import Ask

__all__ = ("HeaderStyle", "QuotaHeaders")

HeaderStyle = Literal["draft-10", "legacy", "draft-10+legacy", "off"]

_DRAFT = frozenset({b"ratelimit", b"ratelimit-policy"})
_LEGACY = frozenset({b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"})
_KNOWN = 8192
"""Answers that are kept, as long as they are the same."""

_OURS = _DRAFT | _LEGACY
_LENGTHS = frozenset(map(len, _OURS))


class QuotaHeaders:
    """Writes the fields of one response, in the style asked for."""

    def __init__(self, rules: Sequence[Rule], style: HeaderStyle, *, dynamic: Collection[str] = ()) -> None:
        self._dynamic = frozenset(dynamic)
        self.on = style != "off"
        self._draft = "draft-10" in style
        self._legacy = "legacy" in style
        self._amounts = {rule.name: b"%d" % rule.amount for rule in rules}
        self._tightest = {
            rule.name: b'"%b";r=%%d;t=%%d' % rule.name.replace("%", "%%").encode() for rule in rules
        }
        self._known: dict[tuple[bytes, Decision], Headers] = {}
        self._refused: dict[tuple[bytes, Decision], Headers] = {}

    def telling(self, send: Send, policy: bytes, decision: Decision, asks: Sequence[Ask] = ()) -> Send:
        """Wrap *send* so that the response tells the quota; one that the handler tells itself stands.

        *asks* know the amount of a rule whose rate depends on the request.
        """

        def send_with_quota(message: Message) -> Awaitable[None]:  # not a coroutine: one less a message
            if message["type"] != "http.response.start":
                return send(message)
            headers = list(message.get("headers", ()))
            for name, _ in headers:
                if len(name) in _LENGTHS and name.lower() in _OURS:
                    headers += self._missing(headers, policy, decision, asks)
                    return send({**message, "headers": headers})
            # At any second most clients whose window ends together have the same few numbers left.
            known = self._known.get((policy, decision))
            headers += self._told(policy, decision, asks) if known is None else known
            return send({**message, "headers": headers})

        return send_with_quota

    def refused(self, policy: bytes, decision: Decision, asks: Sequence[Ask]) -> Headers:
        """Return Retry-After, and what else a client is told whose quota is used up; to be copied."""
        known = self._refused.get((policy, decision))
        if known is None:
            known = [(b"retry-after", b"%d" % decision.reset)]
            known += self._fields(policy, decision, asks, draft=self._draft, legacy=self._legacy)
            if decision.rule not in self._dynamic:
                _keep(self._refused, (policy, decision), known)
        return known

    def _told(self, policy: bytes, decision: Decision, asks: Sequence[Ask]) -> Headers:
        known = self._fields(policy, decision, asks, draft=self._draft, legacy=self._legacy)
        if decision.rule not in self._dynamic:
            _keep(self._known, (policy, decision), known)
        return known

    def _missing(self, given: Headers, policy: bytes, decision: Decision, asks: Sequence[Ask]) -> Headers:
        """Return the style of which the handler tells nothing."""
        names = {name.lower() for name, _ in given}
        draft, legacy = self._draft and not names & _DRAFT, self._legacy and not names & _LEGACY
        return self._fields(policy, decision, asks, draft=draft, legacy=legacy)

    def _fields(
        self, policy: bytes, decision: Decision, asks: Sequence[Ask], *, draft: bool, legacy: bool
    ) -> Headers:
        _, rule, remaining, reset, reset_at, *_ = decision
        fields = []
        if draft:
            fields = [
                (b"ratelimit-policy", policy),
                (b"ratelimit", self._tightest[rule] % (remaining, reset)),
            ]
        if legacy:
            amount = self._amount(rule, asks) if rule in self._dynamic else self._amounts[rule]
            fields += [
                (b"x-ratelimit-limit", amount),
                (b"x-ratelimit-remaining", b"%d" % remaining),
                (b"x-ratelimit-reset", b"%d" % reset_at),
            ]
        return fields

    @staticmethod
    def _amount(name: str, asks: Sequence[Ask]) -> bytes:
        return next(b"%d" % rule.amount for rule, _ in asks if rule.name == name)


def _keep(known: dict[tuple[bytes, Decision], Headers], key: tuple[bytes, Decision], fields: Headers) -> None:
    if len(known) >= _KNOWN:
        known.clear()
    known[key] = fields
