"""What may be stored and for how long: RFC 9111, sections 3 and 4.2. No clock, no I/O, no ASGI."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from sipup_middleware.cache.dates import parse_date
from sipup_middleware.cache.directives import (
    Directives,
    delta_seconds,
    parse_directives,
    split_list,
)
from sipup_middleware.cache.request import AUTHORIZATION, COOKIE
from sipup_middleware.cache.vary import vary_fields

__all__ = ("Answer", "Terms", "freshness_lifetime", "initial_age", "settle", "storable_fields")

Fields = list[tuple[bytes, bytes]]

_FIRST_FINAL = 200
_NEVER = frozenset({206, 304})
_RULED = frozenset({200, 203, 204, 300, 301, 308, 410})
_UNDERSTOOD = _RULED | {302, 303, 307, 400, 401, 403, 404, 405, 414, 421, 451, 500, 501, 502, 503, 504}
_TO_ANY_CLIENT = frozenset({b"public", b"s-maxage", b"must-revalidate"})

_CONNECTION = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_ONE_CLIENTS = (b"ratelimit", b"x-ratelimit")
_DROPPED = _CONNECTION | {b"age", b"retry-after"}
_TELLING = frozenset(
    {
        b"age",
        b"cache-control",
        b"connection",
        b"content-range",
        b"date",
        b"expires",
        b"set-cookie",
        b"vary",
    }
)


class Answer:
    """The head of a response as the cache reads it, in one pass; field names in lower case."""

    __slots__ = ("directives", "fields", "length", "lines", "media_type", "status")

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.lines: dict[bytes, list[bytes]] = {}
        """Of the fields that decide on storing; empty for most answers, which then need no further look."""
        self.fields: Fields = []
        """All that may be kept, as they were sent."""
        lengths: list[bytes] = []
        types: list[bytes] = []
        for name, value in headers:
            lower = name.lower()
            if lower in _TELLING:
                self.lines.setdefault(lower, []).append(value.strip(b" \t"))
            elif lower == b"content-length":
                lengths.append(value.strip(b" \t"))
            elif lower == b"content-type":
                types.append(value)
            if lower not in _DROPPED and not lower.startswith(_ONE_CLIENTS):
                self.fields.append((bytes(name), bytes(value)))
        self.length = _length(lengths) if lengths else None
        """The declared Content-Length; -1 where it is none that a body can have, None without one."""
        self.media_type = _media_type(bytes(types[0])) if types else ""
        """The Content-Type without its parameters, in lower case."""
        self.directives: Directives = parse_directives(self.all(b"cache-control")) if self.lines else {}

    def all(self, name: bytes) -> list[bytes]:
        """Return the values of every line of the deciding field *name*."""
        return self.lines.get(name, [])

    def date(self, name: bytes) -> int | None:
        """Return the date in the field *name*; None where it is absent, doubled or not a date."""
        lines = self.all(name)
        return parse_date(lines[0]) if len(lines) == 1 else None


@dataclass(slots=True)  # not frozen: that costs a microsecond a response
class Terms:
    """On which a response is stored."""

    lifetime: float
    """Seconds that it is fresh, from when it was made."""

    age: float
    """Seconds that have passed of these."""

    refuses: int
    """Flags of the requests that it must not be shown to."""

    vary: tuple[bytes, ...]


def settle(
    answer: Answer, flags: int, *, age: float, declared: float | None, ruled: float | None
) -> Terms | str:
    """Return the terms on which *answer* may be stored; else why it may not.

    *flags* are the request's, *age* the answer's on arrival; *declared* is the lifetime that the handler or
    the response states, *ruled* what counts where neither does.
    """
    if reason := _forbidden(answer, flags):
        return reason
    vary = vary_fields(answer.all(b"vary")) if answer.lines else ()
    if vary is None:
        return "vary"
    if declared is None and (answer.status not in _RULED or flags & (COOKIE | AUTHORIZATION)):
        ruled = None
    lifetime = ruled if declared is None else declared
    if lifetime is None:
        return "undeclared"
    if lifetime <= age:
        return "stale"
    refuses = 0 if _to_any_client(answer) else AUTHORIZATION
    return Terms(lifetime, age, refuses | (COOKIE if declared is None else 0), vary)


def freshness_lifetime(answer: Answer, now: float) -> float | None:
    """Return the seconds that the response declares; None where it does not (RFC 9111, section 4.2.1)."""
    if not answer.lines:
        return None
    for name in (b"s-maxage", b"max-age"):
        if name in answer.directives:
            return delta_seconds(answer.directives[name])
    expires = set(answer.all(b"expires"))
    if not expires:
        return None
    date = parse_date(expires.pop())
    if date is None or expires:  # no date, or two: stale
        return 0.0
    sent = answer.date(b"date")
    return max(0.0, date - (now if sent is None else sent))


def initial_age(answer: Answer, now: float, delay: float) -> float:
    """Return how old the response was on arrival (RFC 9111, section 4.2.3).

    *delay* makes up for the way from another cache: it counts where one has stated an Age.
    """
    if not answer.lines:
        return 0.0
    sent = answer.date(b"date")
    apparent = 0.0 if sent is None else max(0.0, now - sent)
    stated = b",".join(answer.all(b"age")).partition(b",")[0].strip(b" \t")
    return max(apparent, delta_seconds(stated) + delay if stated.isdigit() else 0.0)


def storable_fields(answer: Answer) -> Fields:
    """Return the lines to keep: not the connection's (RFC 9111, section 3.1), nor one client's."""
    named = {name.lower() for line in answer.all(b"connection") for name in split_list(line)}
    return [pair for pair in answer.fields if pair[0].lower() not in named] if named else answer.fields


def _length(lines: list[bytes]) -> int:
    value, *others = set(lines)
    return -1 if others or not value.isdigit() or len(value) > 18 else int(value)  # noqa: PLR2004 (2**60 < 10**18)


@lru_cache(maxsize=256)
def _media_type(value: bytes) -> str:
    return value.partition(b";")[0].strip().lower().decode("latin-1")


def _forbidden(answer: Answer, flags: int) -> str | None:
    """Return what forbids a shared cache to store this: RFC 9111, section 3, and Set-Cookie."""
    if not _is_whole(answer):
        return "status"
    if flags & AUTHORIZATION and not _to_any_client(answer):
        return "authorization"
    return _forbids_itself(answer) if answer.lines else None


def _forbids_itself(answer: Answer) -> str | None:
    directives = answer.directives
    if b"no-store" in directives and b"must-understand" not in directives:
        return "no-store"
    for name in (
        b"private",
        b"no-cache",
    ):  # with a list of fields too: the whole is the safe reading of a part
        if name in directives:
            return name.decode()
    return "set-cookie" if b"set-cookie" in answer.lines else None


def _is_whole(answer: Answer) -> bool:
    """Say whether this is a final response, not a part of one, of a status that we may store."""
    if answer.status < _FIRST_FINAL or answer.status in _NEVER:
        return False
    if b"must-understand" in answer.directives and answer.status not in _UNDERSTOOD:
        return False
    return b"content-range" not in answer.lines and answer.length != -1


def _to_any_client(answer: Answer) -> bool:
    """RFC 9111, section 3.5: what allows an answer to one with credentials to be shown to others."""
    return bool(answer.directives) and not _TO_ANY_CLIENT.isdisjoint(answer.directives)
