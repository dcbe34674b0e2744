"""How long an answer is fresh, how old it is, and how long it may be of use after that.

RFC 9111, section 4.2; RFC 5861. No clock, no I/O, no ASGI.
"""

from __future__ import annotations

from sipup_middleware.cache.answer import Answer
from sipup_middleware.cache.dates import parse_date
from sipup_middleware.cache.directives import delta_seconds

__all__ = (
    "freshness_lifetime",
    "heuristic_lifetime",
    "initial_age",
    "retention",
)

_DAY = 86400.0
_MINUTE = 60.0
_HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""RFC 9110, section 15.1, without 206, which is not stored."""


def freshness_lifetime(answer: Answer, now: float) -> float | None:
    """Return the seconds that the response declares; None where it does not (RFC 9111, section 4.2.1)."""
    control = answer.control
    if control.lifetime is not None:
        return control.lifetime
    return _until_expiry(answer, now) if b"expires" in answer.lines and not control.targeted else None


def _until_expiry(answer: Answer, now: float) -> float:
    expires = set(answer.all(b"expires"))
    date = parse_date(expires.pop())
    if date is None or expires:  # no date, or two: stale
        return 0.0
    sent = answer.date(b"date")
    return max(0.0, date - (now if sent is None else sent))


def heuristic_lifetime(answer: Answer, now: float, *, share: float, has_query: bool) -> float | None:
    """Return *share* of the time since Last-Modified, at most a day: RFC 9111, section 4.2.2.

    None where a guess is not allowed: for other statuses than those of RFC 9110, section 15.1, and for URLs
    with a query, unless the response says ``public``.
    """
    if not share or answer.modified is None or (changed := parse_date(answer.modified)) is None:
        return None
    if not answer.control.public and (has_query or answer.status not in _HEURISTIC):
        return None
    sent = answer.date(b"date")
    return min(max(0.0, ((now if sent is None else sent) - changed) * share), _DAY)


def initial_age(answer: Answer, now: float, delay: float) -> float:
    """Return how old the response was on arrival (RFC 9111, section 4.2.3).

    *delay* makes up for the way from another cache: it counts where one has stated an Age.
    """
    lines = answer.lines
    if b"date" not in lines and b"age" not in lines:
        return 0.0
    sent = answer.date(b"date")
    apparent = 0.0 if sent is None else max(0.0, int(now) - sent)  # a Date tells no parts of a second
    stated = b",".join(answer.all(b"age")).partition(b",")[0].strip(b" \t")
    return max(apparent, delta_seconds(stated) + delay if stated.isdigit() else 0.0)


def retention(answer: Answer, lifetime: float) -> float:
    """Return for how long a stale answer is worth keeping because the app may confirm it.

    As long again as it was fresh, at least a minute, at most a day; not at all without a validator.
    """
    if answer.etag is None and answer.modified is None:
        return 0.0
    return min(max(lifetime, _MINUTE), _DAY)
