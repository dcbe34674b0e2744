"""Forwarding headers, read from their right end: the only one that a trusted proxy has written.

What stands left of a proxy's own words came from the client, who may leave a quote open in order to swallow
them. Read from the right, they are what the proxy wrote, whatever stands before. So each line is read for
itself, backwards, and no further than somebody asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sipup_middleware.networks import packed

__all__ = ("forwarded_nodes", "listed_nodes", "node_address")

_TCHAR = r"!#$%&'*+.^_`|~0-9A-Za-z-"  # RFC 9110, section 5.6.2

_PAIR = re.compile(
    rf"""[ \t]*+
    (?: (?P<name> [{_TCHAR}]++ ) =
        (?: (?P<value> [{_TCHAR}:\[\]]++ )           # many proxies forget to quote an address with a colon
          | " (?P<quoted> (?: [^"\\] | \\. )*+ ) " )
    )?+
    [ \t]*+ (?: ; | \Z )""",
    re.VERBOSE | re.DOTALL,
)
"""A pair of an element and the semicolon after it; a pair may be missing (RFC 7239, section 4)."""

_MIRRORED_ELEMENT = re.compile(
    r"""(?: [^",]++
          | " (?: [^"] | "(?= \\(?:\\\\)*+ (?!\\) ) )*+ "    # a quote after an odd number of \ is escaped
        )*+""",
    re.VERBOSE,
)
"""An element up to its comma, all back to front."""

_NODE = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?")
"""An address, in brackets if it is IPv6, and a port (RFC 7239, section 6)."""


def listed_nodes(line: str) -> Iterator[str]:
    """Return the entries of a line of X-Forwarded-For, the last first."""
    return reversed(line.split(","))


def forwarded_nodes(line: str) -> Iterator[str]:
    """Yield the ``for`` node of each element of a line of Forwarded, the last first.

    An element that has none, or more than one, or is none by RFC 7239, yields "".
    """
    mirrored = line[::-1]
    size = len(line)
    start = 0
    while start <= size:
        match = _MIRRORED_ELEMENT.match(mirrored, start)
        end = match.end() if match else start
        if end < size and mirrored[end] == '"':  # opened nowhere: there is no telling where the rest belongs
            yield ""
            return
        yield _for_node(line[size - end : size - start])
        start = end + 1


def node_address(node: str) -> bytes | None:
    """Return the packed address of a node without port and zone; None if it is none, `unknown`, `_hidden`."""
    node = node.strip(" \t")
    address = packed(node)
    if address is None and (match := _NODE.fullmatch(node)):
        return packed(match[1] or match[2] or "")
    return address


def _for_node(element: str) -> str:
    node = ""
    start, size = 0, len(element)
    while start < size:
        pair = _PAIR.match(element, start)
        if pair is None:
            return ""
        if (pair["name"] or "").lower() == "for":
            if node:
                return ""
            node = pair["value"] or _unescaped(pair["quoted"])
        start = pair.end()
    return node


def _unescaped(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if "\\" in quoted else quoted
