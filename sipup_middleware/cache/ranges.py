"""Which part of a stored answer a GET asks for: RFC 9110, sections 13.1.5 and 14."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sipup_middleware.cache.dates import parse_date

__all__ = ("content_range", "requested_slice", "unsatisfied")

_UNIT = b"bytes="
_DIGITS = 18
"""No body has more bytes than these tell, and int() of megabytes of digits is slow."""

_FURTHEST = 10**_DIGITS


def requested_slice(
    headers: Iterable[tuple[bytes, bytes]],
    *,
    length: int,
    etag: bytes | None,
    modified: bytes | None,
    date: bytes | None,
) -> tuple[int, int] | Literal["unsatisfiable"] | None:
    """Return the first byte of the single range that is asked for, and the one beyond its last.

    None = send the whole, which is always allowed: no Range, a malformed one, several, another unit, or an
    If-Range that does not hold. *etag*, *modified* and *date* are the stored ETag, Last-Modified and Date,
    *length* is that of the stored body. Only a GET has ranges (section 14.2).
    """
    asked: list[bytes] = []
    conditions: list[bytes] = []
    for name, value in headers:
        if name == b"range":
            asked.append(value.strip(b" \t"))
        elif name == b"if-range":
            conditions.append(value.strip(b" \t"))
    if len(asked) != 1 or len(conditions) > 1:
        return None
    if conditions and not _holds(conditions[0], etag, modified, date):
        return None
    return _slice(asked[0], length)


def content_range(first: int, beyond: int, length: int) -> bytes:
    """Return the Content-Range of a 206 that holds the bytes from *first* to before *beyond*."""
    return b"bytes %d-%d/%d" % (first, beyond - 1, length)


def unsatisfied(length: int) -> bytes:
    """Return the Content-Range of a 416: how long the whole is (section 15.5.17)."""
    return b"bytes */%d" % length


def _slice(asked: bytes, length: int) -> tuple[int, int] | Literal["unsatisfiable"] | None:
    if asked[: len(_UNIT)].lower() != _UNIT:
        return None
    first, dash, last = asked[len(_UNIT) :].partition(b"-")
    if not dash or not (first + last).isdigit():
        return None
    if not first:
        return _suffix(_position(last), length)
    start, end = _position(first), _position(last) if last else _FURTHEST
    if end < start:
        return None
    return "unsatisfiable" if start >= length else (start, min(end + 1, length))


def _suffix(wanted: int, length: int) -> tuple[int, int] | Literal["unsatisfiable"] | None:
    if not wanted:
        return "unsatisfiable"
    return (max(0, length - wanted), length) if length else None  # of nothing, no Content-Range can tell


def _position(digits: bytes) -> int:
    """Read a number; of one that is beyond every body it does not matter how far."""
    digits = digits.lstrip(b"0") or b"0"
    return int(digits) if len(digits) <= _DIGITS else _FURTHEST


def _holds(condition: bytes, etag: bytes | None, modified: bytes | None, date: bytes | None) -> bool:
    """Compare strongly: a weak tag never holds, nor does a date unless it is the stored one, and strong."""
    if condition.startswith(b'"'):
        return condition == etag
    return condition == modified and _is_strong(modified, date)


def _is_strong(modified: bytes, date: bytes | None) -> bool:
    """Say whether no second change can hide behind *modified*: it is a second or more before *date*.

    Section 8.8.2.2; both are of one clock, the app's.
    """
    changed, sent = parse_date(modified), None if date is None else parse_date(date)
    return changed is not None and sent is not None and sent - changed >= 1
