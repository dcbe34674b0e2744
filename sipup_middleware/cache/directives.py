"""Lists and directives, aware of quoted strings: RFC 9110, section 5.6; RFC 9111, section 5.2."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ("Directives", "delta_seconds", "parse_directives", "split_list")

Directives = dict[bytes, bytes | None]
"""Arguments by name."""

_FURTHEST = 1 << 31
_LISTING = frozenset({b"no-cache", b"private"})
_SWITCHES = frozenset({b"*", b"0", b"1", b"all", b"on", b"true", b"yes"})
"""What stands behind ``private=`` where somebody takes it for a switch."""

_FORBIDDING = frozenset({b"no-cache", b"no-store", b"private"})
_KNOWN = _FORBIDDING | {
    b"immutable",
    b"max-age",
    b"max-stale",
    b"min-fresh",
    b"must-revalidate",
    b"must-understand",
    b"no-transform",
    b"only-if-cached",
    b"proxy-revalidate",
    b"public",
    b"s-maxage",
    b"stale-if-error",
    b"stale-while-revalidate",
}
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


def split_list(value: bytes) -> list[bytes]:
    """Return the members of a comma-separated list, without the empty ones (RFC 9110, section 5.6.1.2)."""
    if b'"' not in value:
        return [member for each in value.split(b",") if (member := each.strip(b" \t"))]
    return [member for each in _split_quoted(value) if (member := each.strip(b" \t"))]


def parse_directives(lines: Iterable[bytes]) -> Directives:
    """Return the directives of all *lines*, names in lower case.

    Of a duplicate the stricter counts: of numbers the smaller, of lists of fields all, and without a list the
    whole answer.
    """
    directives: Directives = {}
    for member in (each for line in lines for each in split_list(line)):  # a quote does not span lines
        name, given, argument = member.partition(b"=")
        name = name.strip(b" \t").lower()
        value = _unquote(argument.strip(b" \t")) if given else None
        if name in _LISTING and value and (value.lower() in _SWITCHES or b'"' in value):
            value = None  # no list: it can only mean the whole
        if name in directives:
            value = _stricter(name, directives[name], value)
        directives[name] = value
        if name not in _KNOWN:
            directives |= dict.fromkeys(_misspelt(member))
    return directives


def delta_seconds(value: bytes | None) -> int:
    """Return a number of seconds of at most 2**31; what is no number is 0, so that it makes nothing fresh.

    RFC 9111, sections 1.2.2 and 4.2.1: a response with invalid freshness information is stale.
    """
    if value is None or not value.isdigit():
        return 0
    return min(int(value), _FURTHEST) if len(value) < 20 else _FURTHEST  # noqa: PLR2004 (int() of megabytes is slow)


def _misspelt(member: bytes) -> frozenset[bytes]:
    """Return what *member* forbids though it is no directive: "private; max-age=60", "no_cache"."""
    if b'="' in member:  # a quoted argument of an extension is none of ours
        return frozenset()
    words = member.lower().replace(b";", b" ").replace(b"_", b"-").split()
    return _FORBIDDING.intersection(word.strip(b"\"'") for word in words)


def _unquote(value: bytes) -> bytes:
    if len(value) > 1 and value.startswith(b'"') and value.endswith(b'"'):
        return _ESCAPE.sub(rb"\1", value[1:-1])
    return value


def _stricter(name: bytes, one: bytes | None, other: bytes | None) -> bytes | None:
    if name in _LISTING:
        return one + b"," + other if one and other else None
    return one if delta_seconds(one) <= delta_seconds(other) else other


def _split_quoted(value: bytes) -> Iterator[bytes]:
    """Split at commas outside of quoted strings, in one pass; a quote that is never closed quotes nothing."""
    start, quote, comma = 0, value.find(b'"'), value.find(b",")
    while quote >= 0 <= comma:
        if comma < quote:
            yield value[start:comma]
            start = comma + 1
            comma = value.find(b",", start)
            continue
        quoted = _QUOTED.match(value, quote)
        if quoted is None:
            break
        quote = value.find(b'"', quoted.end())
        if comma < quoted.end():
            comma = value.find(b",", quoted.end())
    if comma < 0:
        yield value[start:]
        return
    yield value[start:comma]
    yield from value[comma + 1 :].split(b",")
