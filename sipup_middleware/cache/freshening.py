"""What a 304, or the answer to a HEAD, makes of a stored answer: RFC 9111, sections 3.2, 4.3.4 and 4.3.5."""

from __future__ import annotations

from sipup_middleware.cache.answer import Answer, Kinds, storable_fields
from sipup_middleware.cache.stored import StoredResponse

__all__ = ("confirms", "describes", "freshened")

_UNTOUCHED = frozenset(
    {
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"set-cookie",
    }
)
"""What belongs to the stored body, and what concerns one client."""


def confirms(stored: StoredResponse, answer: Answer) -> bool:
    """Say whether the 304 *answer* is about *stored*: RFC 9111, section 4.3.4.

    A strong ETag counts alone; else what is there of a weak one and Last-Modified must be the same. A 304
    without a validator is about what was asked with: there was one.
    """
    if answer.etag is not None and not answer.etag.startswith(b"W/"):
        return answer.etag == stored.etag
    if answer.etag is not None:
        return answer.etag.removeprefix(b"W/") == (stored.etag or b"").removeprefix(b"W/")
    return answer.modified is None or answer.modified == stored.modified


def describes(stored: StoredResponse, answer: Answer) -> bool:
    """Say whether the 200 to a HEAD is that of *stored*: RFC 9111, section 4.3.5."""
    return (
        answer.etag in {None, stored.etag}
        and answer.modified in {None, stored.modified}
        and answer.length in {None, len(stored.body)}
    )


def freshened(stored: StoredResponse, answer: Answer, kinds: Kinds) -> Answer:
    """Return the head of *stored* with the fields of *answer*, which replace those of their names.

    A Date that *answer* does not renew goes: nothing may count from the old one.
    """
    newer = [pair for pair in storable_fields(answer) if pair[0].lower() not in _UNTOUCHED]
    replaced = {name.lower() for name, _ in newer}
    replaced.add(b"date")
    if b"age" in answer.lines:  # of this head, not of the stored one, which has none
        newer += [(b"age", value) for value in answer.all(b"age")]
    if kinds.target is not None:
        newer += [(kinds.target, value) for value in answer.all(kinds.target) or stored.own]
    kept = [pair for pair in stored.fields if pair[0].lower() not in replaced]
    return Answer(stored.status, [*kept, *newer], kinds)
