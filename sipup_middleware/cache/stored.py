"""What lies in the store: answers, and which request headers tell those of one URL apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sipup_middleware.cache.answer import Answer, Fields
from sipup_middleware.cache.dates import parse_date
from sipup_middleware.cache.policy import Terms
from sipup_middleware.cache.vary import variant

__all__ = ("CODEC", "Entry", "EntryCodec", "StoredResponse", "Variants")

_BODILESS = frozenset({204, 205})
_OVERHEAD = 400
_A_LINE = 100
_FURTHEST = 1e12
"""Seconds, from the epoch or otherwise."""


class StoredResponse:
    """An answer, ready to be sent; never changed after it is made."""

    __slots__ = (
        "body",
        "born",
        "date",
        "etag",
        "fields",
        "immutable",
        "lifetime",
        "modified",
        "never_stale",
        "own",
        "refuses",
        "route",
        "sie",
        "status",
        "swr",
        "tags",
    )

    def __init__(  # noqa: PLR0913 (what the app said, and what was decided about it)
        self, answer: Answer, fields: Fields, body: bytes, terms: Terms, *, born: float, route: str
    ) -> None:
        self.status = answer.status
        self.body = body
        self.born = born
        """When it was made, in seconds since the epoch; the rest counts from then."""
        self.route = route
        """The template of the route that made it: what its hits are counted under."""
        self.lifetime = terms.lifetime
        self.swr = terms.swr
        self.sie = terms.sie
        self.refuses = terms.refuses
        """Flags of the requests that it is not for."""
        self.never_stale = terms.never_stale
        self.immutable = terms.immutable
        self.etag = answer.etag
        self.modified = answer.modified
        """Last-Modified, as it was sent."""
        self.date = answer.first(b"date")
        self.own = answer.own
        """What the field for us alone said (RFC 9213); it is not among the `fields`."""
        if answer.length is None and answer.status not in _BODILESS:
            fields = [*fields, (b"content-length", b"%d" % len(body))]
        self.fields = fields
        """Its header lines; not to be changed."""
        self.tags: tuple[str, ...] = ()
        """What it was made from, for the one that takes its place when the app confirms it."""

    def since(self) -> float:
        """Return when it last changed, for If-Modified-Since: RFC 9111, section 4.3.2."""
        for value in (self.modified, self.date):
            if value is not None and (date := parse_date(value)) is not None:
                return date
        return self.born


class Variants:
    """Stands under the key of a URL whose answers Vary; each lies under a key of its own."""

    __slots__ = ("fields", "kept", "until")

    def __init__(self, fields: tuple[bytes, ...], kept: tuple[bytes, ...], until: float) -> None:
        self.fields = fields
        self.kept = kept
        """Which variants were stored, the oldest first."""
        self.until = until
        """When the last of them ends, in seconds since the epoch."""

    def key(self, key: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return under which key the answer to a request with these *headers* lies."""
        return self.named(variant(self.fields, headers), key)

    @staticmethod
    def named(variant: bytes, key: bytes) -> bytes:
        """Return the key of a *variant*: its first bytes tell it from that of any URL."""
        return b"vary:" + variant + key

    def adding(self, one: bytes, until: float, *, most: int) -> Variants:
        """Return these with *one* more, now the newest, and without the oldest beyond *most*."""
        others = [each for each in self.kept if each != one]
        return Variants(self.fields, (*others, one)[-most:], max(until, self.until))


Entry = StoredResponse | Variants


class EntryCodec:
    """How entries cross to the second tier. What does not decode raises, and is a miss."""

    def encode(self, value: Entry) -> tuple[object, bytes]:
        """Return metadata for JSON, and the body; bytes are written as latin-1."""
        if isinstance(value, Variants):
            fields, kept = (
                [each.decode("latin-1") for each in names] for names in (value.fields, value.kept)
            )
            return ["v", fields, kept, value.until], b""
        fields = [text.decode("latin-1") for pair in value.fields for text in pair]
        own = [line.decode("latin-1") for line in value.own]
        times = [value.born, value.lifetime, value.swr, value.sie]
        marks = [value.refuses, value.never_stale, value.immutable]
        return ["a", value.status, fields, times, marks, value.route, value.tags, own], value.body

    def decode(self, meta: Any, body: bytes) -> Entry:  # noqa: ANN401 (JSON that anyone may have written)
        """Return the entry again."""
        kind, *rest = meta
        if kind == "v":
            names, kept, until = rest
            return Variants(_bytes(names), _bytes(kept), _seconds(until))
        if kind != "a":
            raise ValueError("not an entry")
        status, texts, times, marks, route, tags, own = rest
        flat = _bytes(texts)
        fields = list(zip(flat[::2], flat[1::2], strict=True))
        born, lifetime, swr, sie = map(_seconds, times)
        refuses, never_stale, immutable = map(int, marks)
        terms = Terms(lifetime, 0.0, refuses, ())
        terms.swr, terms.sie = swr, sie
        terms.never_stale, terms.immutable = bool(never_stale), bool(immutable)
        answer = _checked(Answer(int(status), fields), fields, body)
        stored = StoredResponse(answer, fields, body, terms, born=born, route=str(route))
        stored.tags, stored.own = tuple(map(str, tags)), _bytes(own)
        return stored

    def size(self, value: Entry) -> int:
        """Return about how many bytes *value* occupies in this process."""
        if isinstance(value, Variants):
            return _OVERHEAD + sum(map(len, value.fields)) + 60 * len(value.kept)
        size = _OVERHEAD + len(value.body) + 60 * len(value.tags) + sum(map(len, value.tags))
        for name, text in value.fields:
            size += len(name) + len(text) + _A_LINE
        return size


CODEC = EntryCodec()


def _checked(answer: Answer, fields: Fields, body: bytes) -> Answer:
    """Return *answer* if it is one that can have been stored, and sent: no server chokes on it."""
    sound = answer.is_clean and answer.length in {None, len(body)} and answer.fields == fields
    if not (sound and 200 <= answer.status < 1000):  # noqa: PLR2004 (final statuses have three digits)
        raise ValueError("no answer")
    return answer


def _seconds(value: Any) -> float:  # noqa: ANN401 (whatever JSON may hold)
    seconds = float(value)
    if not abs(seconds) < _FURTHEST:
        raise ValueError("no time")
    return seconds


def _bytes(texts: list[Any]) -> tuple[bytes, ...]:
    if not isinstance(texts, list):
        raise TypeError("not a list")
    try:
        return tuple(text.encode("latin-1") for text in texts)
    except (AttributeError, UnicodeEncodeError) as error:
        raise ValueError("not text") from error
