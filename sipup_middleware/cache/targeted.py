"""Directives for one kind of cache alone, in a field of its own: RFC 9213, section 2.1.

Such a field is no Cache-Control under another name: it is a Dictionary (RFC 9651), whose names are in lower
case and of whose duplicates the last counts.
"""

from __future__ import annotations

from collections import UserString
from functools import lru_cache

from sipup_middleware.cache.directives import Directives
from sipup_middleware.errors import MissingExtra

__all__ = ("targeted_directives",)

_SECONDS = frozenset({"max-age", "s-maxage", "stale-if-error", "stale-while-revalidate"})
_BARE = frozenset(
    {
        "immutable",
        "must-revalidate",
        "must-understand",
        "no-store",
        "no-transform",
        "proxy-revalidate",
        "public",
    }
)
_LISTING = frozenset({"no-cache", "private"})
"""Bare, or with the names of fields."""


def targeted_directives(lines: list[bytes]) -> Directives | None:
    """Return what the *lines* of a targeted field say; None = nothing: then Cache-Control counts.

    That is so where they are not valid together, or empty. A directive that we do not know, or whose value is
    of another type than it takes, counts as absent; parameters are ignored. Raises `MissingExtra` without
    http-sf.
    """
    return _read(b", ".join(lines))


@lru_cache(maxsize=256)  # an app has few such values, and reading one takes four times a Cache-Control
def _read(field: bytes) -> Directives | None:
    try:
        from http_sf import parse  # noqa: PLC0415 (only who sends such a field needs it)
    except ImportError as error:
        raise MissingExtra("cache") from error
    try:
        members = parse(field, tltype="dictionary")
    except ValueError:
        return None
    if not isinstance(members, dict) or not members:
        return None
    directives: Directives = {}
    for name, member in members.items():
        value = member[0] if isinstance(member, tuple) else member
        if value is True and name in _BARE | _LISTING:
            directives[name.encode()] = None
        elif type(value) is int and name in _SECONDS:
            directives[name.encode()] = b"%d" % value
        elif isinstance(value, str | UserString) and name in _LISTING:
            directives[name.encode()] = str(value).encode()
    return directives
