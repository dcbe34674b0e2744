"""Which paths a limit is for: ``/items/{id}``, one ``{name}`` for one segment."""

from __future__ import annotations

import re

from sipup_middleware.errors import ConfigurationError

__all__ = ("PathTable", "check_pattern", "is_within", "segments")


def segments(path: str) -> list[str]:
    """Split *path*; doubled and trailing slashes make no difference."""
    return [segment for segment in path.split("/") if segment]


def is_within(path: str, prefix: str) -> bool:
    """Say whether *path* is *prefix* or below it; never, if it climbs back up."""
    return (path == prefix or path.startswith(prefix + "/")) and "/.." not in path


def check_pattern(pattern: str) -> None:
    """Raise `ConfigurationError` for a *pattern* that could not match what its writer means."""
    if not pattern.startswith("/"):
        raise ConfigurationError(f"a path starts with '/', {pattern!r} does not")
    for segment in segments(pattern):
        if ("{" in segment or "}" in segment) and not _PARAMETER.fullmatch(segment):
            raise ConfigurationError(
                f"{{name}} stands for one whole segment of any type, not as in {pattern!r}"
            )


_PARAMETER = re.compile(r"\{[A-Za-z_]\w*\}")


class _Node:
    __slots__ = ("any", "bits", "children")

    def __init__(self) -> None:
        self.bits = 0
        self.any: _Node | None = None
        self.children: dict[str, _Node] = {}


class PathTable:
    """Maps a path to the bits of all patterns that match it."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, pattern: str, bit: int) -> None:
        """Give the paths that match *pattern* this *bit* too."""
        node = self._root
        for segment in segments(pattern):
            if segment.startswith("{"):
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.children.setdefault(segment, _Node())
        node.bits |= bit

    def match(self, path: str) -> int:
        """Return the bits of *path*; 0 if nothing matches."""
        nodes = [self._root]
        for segment in segments(path):
            nodes = [
                child
                for node in nodes
                for child in (node.children.get(segment), node.any)
                if child is not None
            ]
            if not nodes:
                return 0
        bits = 0
        for node in nodes:
            bits |= node.bits
        return bits
