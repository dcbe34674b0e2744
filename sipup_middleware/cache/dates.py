"""HTTP dates, read strictly: RFC 9110, section 5.6.7; RFC 9111, section 4.2."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import UTC, datetime
from functools import lru_cache
from time import gmtime

__all__ = ("parse_date",)

_MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")
_MONTH = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DAY = rb"(?:mon|tue|wed|thu|fri|sat|sun)"
_WEEKDAY = rb"(?:mon|tues|wednes|thurs|fri|satur|sun)day"

_LONGEST = len(b"Wednesday, 09-Nov-94 08:49:37 GMT")

_FORMATS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        _DAY + rb", (?P<day>\d\d) " + _MONTH + rb" (?P<year>\d{4}) " + _TIME + rb" GMT",
        _WEEKDAY + rb", (?P<day>\d\d)-" + _MONTH + rb"-(?P<year>\d\d) " + _TIME + rb" GMT",
        _DAY + b" " + _MONTH + rb" (?P<day>\d\d| \d) " + _TIME + rb" (?P<year>\d{4})",
    )
)
"""IMF-fixdate, RFC 850, asctime."""


def parse_date(value: bytes) -> int | None:
    """Return the seconds since the epoch; None for what is not one of the three formats, in GMT."""
    return _parse(value) if len(value) <= _LONGEST else None


@lru_cache(maxsize=1024)  # a second has one Date, and an app few of the other dates
def _parse(value: bytes) -> int | None:
    for pattern in _FORMATS:
        if read := pattern.fullmatch(value):
            return _seconds(read)
    return None


def _seconds(read: re.Match[bytes]) -> int | None:
    year = int(read["year"])
    if len(read["year"]) == 2:  # noqa: PLR2004 (RFC 850 writes two digits)
        year = _in_full(year)
    month = _MONTHS.index(read["month"].lower()) + 1
    second = min(int(read["second"]), 60)
    if int(read["second"]) > second:
        return None
    try:
        day = datetime(year, month, int(read["day"]), int(read["hour"]), int(read["minute"]), tzinfo=UTC)
    except ValueError:
        return None
    return timegm(day.timetuple()) + second


def _in_full(year: int) -> int:
    """Read a two-digit year that seems more than 50 years ahead as the last past one with these digits."""
    present = gmtime().tm_year
    year += present // 100 * 100
    return year - 100 if year > present + 50 else year
