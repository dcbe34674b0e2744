"""Who is banned, in this process."""

from __future__ import annotations

from collections.abc import Callable
from random import random

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.ratelimit.backoff import (
    INNOCENT,
    Backoff,
    Record,
    banned,
    milliseconds,
    rewound,
    struck,
    swing,
)
from sipup_middleware.ratelimit.counters import Generations, Key

__all__ = ("Bans", "Principal", "no_backoff")

Principal = tuple[str, Key]
"""What a kind of client is called, and one client of that kind."""


class Bans:
    """The records of those who were refused; *draw* gives numbers from 0 to 1."""

    def __init__(self, backoff: Backoff, limit: int, draw: Callable[[], float] = random) -> None:
        self._backoff = backoff
        self._draw = draw
        self._records = Generations[Record](milliseconds(max(backoff.forget, backoff.max)), limit)

    def __len__(self) -> int:
        return len(self._records)

    def left(self, principal: Principal, now: int) -> int:
        """Return how many milliseconds a ban has left; 0 = there is none."""
        return max(0, self._record(principal, now).till - now)

    def strike(self, principal: Principal, now: int) -> int:
        """Count a refusal; return how many milliseconds it bans."""
        by = swing(self._backoff, self._draw())
        record, ban = struck(self._backoff, self._record(principal, now), now, by)
        self._records.set(principal, record, now)
        return ban

    def ban(self, principal: Principal, length: int, now: int) -> None:
        """Ban for *length* from now, whatever came before."""
        self._records.life = max(self._records.life, length)
        self._records.set(principal, banned(self._backoff, self._record(principal, now), now, length), now)

    def unban(self, principal: Principal) -> None:
        """Forget what a client was refused."""
        self._records.pop(principal)

    def clear(self) -> None:
        """Forget everybody."""
        self._records.clear()

    def _record(self, principal: Principal, now: int) -> Record:
        record = self._records.get(principal, now)
        if record is None:
            return INNOCENT
        if record.last > now:
            record = rewound(record, now)
            self._records.set(principal, record, now)
        return record


def no_backoff() -> ConfigurationError:
    """Return what is raised where somebody is banned and nobody would look."""
    return ConfigurationError("RateLimit.backoff is None: nobody looks up who is banned")
