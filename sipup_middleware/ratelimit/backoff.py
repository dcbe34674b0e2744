"""Who is refused again and again is banned, each time for longer: pure functions, in whole milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import floor, isfinite
from typing import NamedTuple

from sipup_middleware.errors import ConfigurationError

__all__ = ("INNOCENT", "Backoff", "Record", "banned", "milliseconds", "rewound", "struck", "swing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """When refusals become a ban, and how long it lasts. A request during a ban does not prolong it."""

    after: int = 5
    """Refusals that are no more than that; the next one bans."""

    within: float = 60
    """Seconds from the first of them in which they count together."""

    base: float = 1
    """Seconds of the first ban."""

    factor: float = 2
    """How many times longer each further refusal bans."""

    max: float = 3600
    """Seconds that no ban exceeds."""

    jitter: float = 0.1
    """Share of a ban that chance adds or takes, so that the banned do not come back together."""

    forget: float = 86400
    """Seconds without a refusal after which a client begins anew."""

    strike_on: AbstractSet[int] = frozenset()
    """Statuses of the app, 400 to 599, that count like refusals: ``{401}``."""

    def __post_init__(self) -> None:
        if type(self.after) is not int or self.after < 0:
            raise ConfigurationError(f"Backoff.after must be a number of refusals, not {self.after!r}")
        for name in ("within", "base", "forget"):
            if not _number(getattr(self, name)) or milliseconds(getattr(self, name)) < 1:
                raise ConfigurationError(
                    f"Backoff.{name} must be seconds, more than 0, not {getattr(self, name)!r}"
                )
        if not _number(self.max) or self.max < self.base:
            raise ConfigurationError(f"Backoff.max must be seconds, at least base, not {self.max!r}")
        if not _number(self.factor) or self.factor < 1:
            raise ConfigurationError(f"Backoff.factor must be at least 1, not {self.factor!r}")
        if not _number(self.jitter) or not 0 <= self.jitter < 1:
            raise ConfigurationError(f"Backoff.jitter must be from 0 to below 1, not {self.jitter!r}")
        object.__setattr__(self, "strike_on", _statuses(self.strike_on))


class Record(NamedTuple):
    """What is known of a client that was refused; times are milliseconds since 1970."""

    till: int = 0
    """When its ban ends."""

    since: int = 0
    """When the strikes that count together began."""

    strikes: int = 0
    level: int = 0
    """How many bans there were, as far as they made the next one longer."""

    last: int = 0
    """When it was last struck or banned."""


INNOCENT = Record()


def milliseconds(seconds: float) -> int:
    """Return *seconds* as what everything is reckoned in."""
    return floor(seconds * 1000 + 0.5)


def swing(backoff: Backoff, drawn: float) -> float:
    """Return what a ban is multiplied with, for a number *drawn* from 0 to 1."""
    return 1 + backoff.jitter * (2 * drawn - 1)


def struck(backoff: Backoff, record: Record, now: int, by: float) -> tuple[Record, int]:
    """Return what one more refusal makes of *record*, and how long it bans: 0 = not, *by* = its `swing`."""
    if record.till > now:
        return record, 0
    _, since, strikes, level, last = record
    if now - last >= milliseconds(backoff.forget):
        strikes = level = 0
    if not strikes or now - since >= milliseconds(backoff.within):
        since, strikes = now, 0
    strikes += 1
    if not level and strikes <= backoff.after:
        return Record(0, since, strikes, 0, now), 0
    longest = milliseconds(backoff.max)
    length = milliseconds(backoff.base) * float(backoff.factor) ** level
    if length < longest or not level:
        level += 1
    ban = max(1, floor(min(longest, length * by) + 0.5))
    return Record(now + ban, now, 0, level, now), ban


def banned(backoff: Backoff, record: Record, now: int, length: int) -> Record:
    """Return what a ban by hand makes of *record*; it does not make the next one longer."""
    if now - record.last >= milliseconds(backoff.forget):
        record = INNOCENT
    return record._replace(till=now + length, last=now)


def rewound(record: Record, now: int) -> Record:
    """Return *record* for a clock that was set back: what lay ahead of *last* lies as far ahead of *now*."""
    ahead = record.last - now
    if ahead <= 0:
        return record
    return record._replace(till=max(0, record.till - ahead), since=max(0, record.since - ahead), last=now)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _statuses(given: object) -> frozenset[int]:
    statuses = frozenset(given) if isinstance(given, Iterable) and not isinstance(given, str) else None
    if statuses is None or not all(isinstance(each, int) and 400 <= each <= 599 for each in statuses):  # noqa: PLR2004 (HTTP's errors)
        raise ConfigurationError(f"Backoff.strike_on must be statuses from 400 to 599, not {given!r}")
    return statuses
