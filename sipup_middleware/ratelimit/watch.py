"""What a response says of its client: limits that count by it, and strikes."""

from __future__ import annotations

from collections.abc import Sequence

from sipup_middleware.ratelimit.backoff import Backoff
from sipup_middleware.ratelimit.limit import Limit
from sipup_middleware.ratelimit.rules import Ask

__all__ = ("Watch",)


class Watch:
    """Which of a request's rules a status counts against, and whether it is a strike."""

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

    def is_strike(self, status: int) -> bool:
        """Say whether a response with *status* is held against its client."""
        return status in self._strike_on
