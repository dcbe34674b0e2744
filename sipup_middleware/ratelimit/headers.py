"""What a client is told of its quota: draft-ietf-httpapi-ratelimit-headers-10, and what came before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from sipup_middleware.ratelimit.policy import Decision, Rule

__all__ = ("HeaderStyle", "QuotaHeaders")

HeaderStyle = Literal["draft-10", "legacy", "draft-10+legacy", "off"]

_DRAFT = frozenset({b"ratelimit", b"ratelimit-policy"})
_LEGACY = frozenset({b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"})
_PREBUILT = 1000
_LENGTHS = frozenset(map(len, _DRAFT | _LEGACY))


class QuotaHeaders:
    """Writes the fields of one response, in the style asked for."""

    def __init__(self, rules: Sequence[Rule], style: HeaderStyle) -> None:
        self.on = style != "off"
        self._draft = "draft-10" in style
        self._legacy = "legacy" in style
        self._remaining = [(b"x-ratelimit-remaining", b"%d" % number) for number in range(_PREBUILT)]
        self._opening = {rule.name: f'"{rule.name}";r='.encode() for rule in rules}
        self._amount = {rule.name: (b"x-ratelimit-limit", str(rule.amount).encode()) for rule in rules}

    def add_to(
        self, given: Iterable[tuple[bytes, bytes]], policy: bytes, decision: Decision
    ) -> list[tuple[bytes, bytes]]:
        """Return the response's headers and ours; where the handler tells a quota of its own, that stands."""
        headers = list(given)
        draft, legacy = self._draft, self._legacy
        for name, _ in headers:
            if len(name) in _LENGTHS:
                lower = name.lower()
                draft = draft and lower not in _DRAFT
                legacy = legacy and lower not in _LEGACY
        _, rule, remaining, reset, reset_at = decision
        if draft:
            headers += (
                (b"ratelimit-policy", policy),
                (b"ratelimit", b"%b%d;t=%d" % (self._opening[rule], remaining, reset)),
            )
        if legacy:
            headers += (
                self._amount[rule],
                self._remaining[remaining]
                if remaining < _PREBUILT
                else (b"x-ratelimit-remaining", b"%d" % remaining),
                (b"x-ratelimit-reset", b"%d" % reset_at),
            )
        return headers
