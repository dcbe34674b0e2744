"""Whether the client already has what is stored: RFC 9110, section 13; RFC 9111, section 4.3.2."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sipup_middleware.cache.dates import parse_date

__all__ = ("not_modified",)

_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rb"[ \t,]*" + _TAG + rb"(?:[ \t]*,[ \t,]*" + _TAG + rb")*[ \t,]*")
_LONG = 8192
"""Bytes; who tells longer lists gets the whole: to read them takes a hundred times their room."""

_EACH = re.compile(rb'(?:W/)?("[^"]*")')


def not_modified(headers: Iterable[tuple[bytes, bytes]], etag: bytes | None, modified: float) -> bool:
    """Say whether a GET or HEAD with these preconditions deserves 304.

    *etag* is the stored answer's, compared weakly; *modified* its Last-Modified in seconds, else its Date,
    else when it was received. To a precondition that does not parse the answer is the whole.
    """
    tags: list[bytes] = []
    since: list[bytes] = []
    for name, value in headers:
        if name == b"if-none-match":
            tags.append(value)
        elif name == b"if-modified-since":
            since.append(value)
    if tags:  # it alone counts: RFC 9110, section 13.1.3
        return _any_matches(b",".join(tags).strip(b" \t"), etag)
    if len(since) != 1:
        return False
    date = parse_date(since[0].strip(b" \t"))
    return date is not None and modified <= date


def _any_matches(tags: bytes, etag: bytes | None) -> bool:
    if tags == b"*":
        return True
    if etag is None or len(tags) > _LONG or not _TAGS.fullmatch(tags):
        return False
    return etag.removeprefix(b"W/") in _EACH.findall(tags)
