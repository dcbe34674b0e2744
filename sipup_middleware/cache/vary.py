"""Which request headers choose among several answers of one URL: RFC 9111, section 4.1."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from sipup_middleware.cache.directives import split_list

__all__ = ("variant", "vary_fields")

_NO_LISTS = frozenset({b"authorization", b"cookie", b"origin", b"referer", b"user-agent"})
"""Fields whose commas are a part of what they say."""

_LONG = 4096
"""Bytes; a longer line is compared as it is: to split it takes too long."""


def vary_fields(lines: Iterable[bytes]) -> tuple[bytes, ...] | None:
    """Return the names that Vary lists, in lower case, sorted; None where one is ``*``."""
    names = {name.lower() for line in lines for name in split_list(line)}
    return None if b"*" in names else tuple(sorted(names))


def variant(fields: tuple[bytes, ...], headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return what the request's values of *fields* have in common with every request they match.

    Lines are joined and lists normalised; an absent field differs from an empty one, and no two fields mix.
    """
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in fields:
            whole = name in _NO_LISTS or len(value) > _LONG
            values.setdefault(name, []).extend([value] if whole else split_list(value))
    digest = blake2b(digest_size=20)
    for name in fields:
        members = values.get(name)
        digest.update(b"%d:%b" % (len(name), name))
        digest.update(b"-" if members is None else b"+%d" % len(members))
        for member in members or ():
            digest.update(b",%d:%b" % (len(member), member))
    return digest.digest()
