"""What lies in the store: answers, and which request headers tell those of one URL apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.types import Message

from sipup_middleware.cache.dates import parse_date
from sipup_middleware.cache.vary import variant

__all__ = ("CODEC", "Entry", "EntryCodec", "StoredResponse", "Variants")

Fields = tuple[tuple[bytes, bytes], ...]

_BODILESS = frozenset({204, 205})
_OVERHEAD = 200
_REPRESENTATION = frozenset(
    {
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-range",
        b"content-type",
    }
)


class StoredResponse:
    """An answer, ready to be sent; never changed after it is made."""

    __slots__ = ("body", "born", "etag", "fields", "lifetime", "modified", "refuses", "route", "status")

    def __init__(
        self,
        status: int,
        fields: Iterable[tuple[bytes, bytes]],
        body: bytes,
        terms: tuple[float, float, int],
        *,
        route: str,
    ) -> None:
        self.status = status
        self.body = body
        self.route = route
        """The template of the route that made it: what its hits are counted under."""
        self.born, self.lifetime, self.refuses = terms
        """When it was made (seconds since the epoch); how long it is fresh; the requests it is not for."""
        self.fields: Fields = tuple(fields)
        found: dict[bytes, bytes] = {}
        for name, value in self.fields:
            found.setdefault(name.lower(), value)
        if b"content-length" not in found and status not in _BODILESS:
            self.fields += ((b"content-length", b"%d" % len(body)),)
        self.etag = found.get(b"etag")
        """For If-None-Match."""
        dates = (parse_date(found[name]) for name in (b"last-modified", b"date") if name in found)
        self.modified = next((date for date in dates if date is not None), self.born)
        """For If-Modified-Since: RFC 9111, section 4.3.2."""

    def start(self, extra: Fields) -> Message:
        """Return the message that begins this answer."""
        return {"type": "http.response.start", "status": self.status, "headers": [*self.fields, *extra]}

    def start_not_modified(self, extra: Fields) -> Message:
        """Return the message that begins a 304 to who has this answer (RFC 9110, section 15.4.5)."""
        kept = (pair for pair in self.fields if pair[0].lower() not in _REPRESENTATION)
        return {"type": "http.response.start", "status": 304, "headers": [*kept, *extra]}


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
        return key + variant(self.fields, headers)

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
        return ["r", value.status, fields, value.born, value.lifetime, value.refuses, value.route], value.body

    def decode(self, meta: Any, body: bytes) -> Entry:  # noqa: ANN401 (JSON that anyone may have written)
        """Return the entry again."""
        kind, *rest = meta
        if kind == "v":
            fields, kept, until = rest
            return Variants(_bytes(fields), _bytes(kept), float(until))
        if kind != "r":
            raise ValueError("not an entry")
        status, texts, born, lifetime, refuses, route = rest
        flat = _bytes(texts)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        terms = float(born), float(lifetime), int(refuses)
        return StoredResponse(int(status), pairs, body, terms, route=str(route))

    def size(self, value: Entry) -> int:
        """Return about how many bytes *value* occupies in this process."""
        if isinstance(value, Variants):
            return _OVERHEAD + sum(map(len, value.fields)) + 60 * len(value.kept)
        return _OVERHEAD + len(value.body) + sum(len(name) + len(text) + 100 for name, text in value.fields)


CODEC = EntryCodec()


def _bytes(texts: list[Any]) -> tuple[bytes, ...]:
    if not isinstance(texts, list):
        raise TypeError("not a list")
    try:
        return tuple(text.encode("latin-1") for text in texts)
    except (AttributeError, UnicodeEncodeError) as error:
        raise ValueError("not text") from error
