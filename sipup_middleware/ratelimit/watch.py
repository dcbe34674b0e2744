"""What a response says of its client: limits that count by it, and strikes; a handshake's too."""

from __future__ import annotations

from collections.abc import Sequence

from sipup_middleware.ratelimit.backoff import Backoff
from sipup_middleware.ratelimit.limit import Limit
from sipup_middleware.ratelimit.rules import Ask

__all__ = ("Struck", "Watch")

Struck = tuple[str, str]
"""What a kind of client is called, and one client of that kind: whom something is held against."""


class Watch:
    """Which of a request's rules a status counts against, and whom it is held against."""

    def __init__(self, limits: Sequence[Limit], backoff: Backoff | None) -> None:
        self._count_when = [limit.count_when for limit in limits]
        self._strike_on = backoff.strike_on if backoff else frozenset[int]()

    @property
    def strikes(self) -> bool:
        """Whether any status is a strike: then every response is looked at."""
        return bool(self._strike_on)

    def counted(self, asks: Sequence[Ask], status: int) -> list[Ask]:
        """Return those of *asks* that a response with *status* counts for."""
        found = []
        for ask in asks:
            count_when = self._count_when[ask[0].index]
            if count_when is not None and count_when(status):
                found.append(ask)
        return found

    def struck(self, asks: Sequence[Ask], status: int) -> Struck | None:
        """Return whom a response with *status* is held against: the first whom no shadow rule counts."""
        if status not in self._strike_on:
            return None
        return next(((rule.who, name) for rule, name in asks if not rule.shadow), None)
