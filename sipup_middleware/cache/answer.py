"""The head of a response as the cache reads it: RFC 9110, section 5; RFC 9111, section 3.1."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from sipup_middleware.cache.control import SILENCE, control_of
from sipup_middleware.cache.dates import parse_date
from sipup_middleware.cache.directives import split_list

__all__ = ("Answer", "Fields", "Kinds", "storable_fields")

Fields = list[tuple[bytes, bytes]]

_KEPT, _LENGTH, _ETAG, _MODIFIED, _TOLD, _TOLD_AND_LOST, _LOST = range(7)
"""What becomes of a field: it is kept, the next four also looked at; or only looked at; or neither."""

_UNREAD = (_KEPT, _LOST)
_MOST_NAMES = 1024
_LONGEST_NAME = 100
_DIGITS = 18
"""No body has more bytes than these tell, and int() of megabytes of digits is slow."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ONE_CLIENTS = (b"ratelimit", b"x-ratelimit")
_MEANING = {
    **dict.fromkeys(
        (
            b"cache-control",
            b"cache-groups",
            b"content-range",
            b"content-type",
            b"date",
            b"expires",
            b"set-cookie",
            b"vary",
        ),
        _TOLD,
    ),
    b"content-length": _LENGTH,
    b"etag": _ETAG,
    b"last-modified": _MODIFIED,
    **dict.fromkeys((b"age", b"connection"), _TOLD_AND_LOST),
    **dict.fromkeys(
        (
            b"keep-alive",
            b"proxy-authenticate",
            b"proxy-authentication-info",
            b"proxy-authorization",
            b"proxy-connection",
            b"retry-after",
            b"te",
            b"trailer",
            b"transfer-encoding",
            b"upgrade",
        ),
        _LOST,
    ),
}


class Kinds(dict[bytes, int]):
    """What becomes of each field, by its name as it is written; learns the names that an app uses."""

    def __init__(self, target: bytes | None = None) -> None:
        super().__init__(_MEANING)
        self.target = target
        """The field whose directives are for us alone (RFC 9213), in lower case."""
        if target is not None:
            self[target] = _TOLD_AND_LOST

    def __missing__(self, name: bytes) -> int:
        lower = name.lower()
        if lower != name and lower in self:
            kind = self[lower]
        elif lower.startswith(_ONE_CLIENTS) or not _TOKEN.fullmatch(name):
            kind = _LOST  # also what others may take for another field, as "transfer-encoding "
        else:
            kind = _KEPT
        if len(self) < _MOST_NAMES and len(name) < _LONGEST_NAME:
            self[name] = kind
        return kind


class Answer:
    """Read in one pass; field names in lower case."""

    __slots__ = ("control", "etag", "fields", "length", "lines", "modified", "own", "status")

    def __init__(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], kinds: Kinds | None = None
    ) -> None:
        kinds = _PLAIN if kinds is None else kinds
        self.status = status
        lines: dict[bytes, list[bytes]] = {}
        fields: Fields = []
        self.lines = lines
        """The values of the fields that say something to a cache, without those of the next three."""
        self.length: int | None = None
        """The declared Content-Length; -1 where it is none that a body can have, None without one."""
        self.etag: bytes | None = None
        self.modified: bytes | None = None
        """Last-Modified as it was sent."""
        self.fields = fields
        """All that may be kept, as they were sent."""
        for name, value in headers:
            kind = kinds[name]
            if kind < _TOLD_AND_LOST:
                fields.append((name, bytes(value)))
            if kind in _UNREAD:
                continue
            if kind >= _TOLD:
                lines.setdefault(name.lower(), []).append(bytes(value).strip(b" \t"))
            else:
                self._note(kind, bytes(value).strip(b" \t"))
        self.own = tuple(lines[kinds.target]) if kinds.target in lines else ()
        """The values of the field that is for us alone."""
        said = lines.get(b"cache-control")
        self.control = control_of(said or [], self.own) if said or self.own else SILENCE

    def _note(self, kind: int, value: bytes) -> None:
        """Of several lines the first counts, but a length is told once."""
        if kind == _LENGTH:
            length = int(value) if value.isdigit() and len(value) <= _DIGITS else -1
            self.length = length if self.length is None else -1
        elif kind == _ETAG:
            self.etag = self.etag or value
        else:
            self.modified = self.modified or value

    @property
    def is_clean(self) -> bool:
        """Whether no value breaks its line, or ends early: RFC 9110, section 5.5."""
        values = b"".join([value for _, value in self.fields])
        return not (b"\n" in values or b"\r" in values or b"\0" in values)

    def all(self, name: bytes) -> list[bytes]:
        """Return the values of every line of the field *name*, if a cache looks at it."""
        return self.lines.get(name, [])

    def first(self, name: bytes) -> bytes | None:
        """Return the value of the first line of the field *name*, if a cache looks at it."""
        found = self.lines.get(name)
        return found[0] if found else None

    def date(self, name: bytes) -> int | None:
        """Return the date in the field *name*; None where it is absent, doubled or not a date."""
        found = self.lines.get(name)
        return parse_date(found[0]) if found and len(found) == 1 else None

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case."""
        kind = self.first(b"content-type")
        return "" if kind is None else _media_type(kind)


def storable_fields(answer: Answer) -> Fields:
    """Return the lines to keep: not the connection's (RFC 9111, section 3.1), nor one client's."""
    without: Collection[bytes] = answer.control.unlisted
    if b"connection" in answer.lines:
        named = (each.lower() for line in answer.all(b"connection") for each in split_list(line))
        without = {*without, *named}
    if not without:
        return answer.fields
    return [pair for pair in answer.fields if pair[0].lower() not in without]


@lru_cache(maxsize=256)
def _media_type(value: bytes) -> str:
    return value.partition(b";")[0].strip().lower().decode("latin-1")


_PLAIN = Kinds()
