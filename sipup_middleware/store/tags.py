"""What a stored thing depends on: names, each with the stamp it had before the thing was made."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from operator import itemgetter
from urllib.parse import unquote, urlsplit

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store.pending import time_of
from sipup_middleware.store.stamps import GENERATION, PURGES, Stamps

__all__ = ("Seal", "TagSet", "path_of", "prefix_tag", "seal", "url_tag", "url_tags")

_SEGMENTS = 8
_DECODINGS = 8
_LONG = 256


class Seal:
    """Cells, at least one, and the stamps they must hold: valid while they do."""

    __slots__ = ("_held", "_read", "cells", "purges", "stamps")

    def __init__(self, cells: tuple[int, ...], stamps: tuple[int, ...], purges: int) -> None:
        self.cells = cells
        self.stamps = stamps
        self._read = itemgetter(*cells)  # the fastest way; of a single cell it returns no tuple
        self._held = stamps if len(cells) > 1 else stamps[0]
        self.purges = purges
        """What the cell `PURGES` held when the seal was last found whole; while it does, it still is."""

    def holds(self, stamps: Stamps) -> bool:
        """Say whether nothing that this depends on was purged."""
        cells = stamps.cells
        purges = cells[PURGES]
        if purges == self.purges:
            return True
        if self._read(cells) != self._held:
            return False
        self.purges = purges
        return True


class TagSet:
    """The tags of one thing that is being made; begun before its making reads anything.

    A stamp tells when it was made, so nothing need be read now: at the end, a stamp from before the beginning
    is the one that was there all along, and any other means a purge, or that a write is pending. A purge
    comes after the write that it is for, so a stamp that was made before the beginning and written after it
    finds nothing stale here.
    """

    __slots__ = ("_stamps", "began", "names")

    def __init__(self, stamps: Stamps, *tags: str) -> None:
        self._stamps = stamps
        self.began = stamps.now()
        self.names = [*tags]

    def add(self, *tags: str) -> None:
        """Add *tags*, now or while the thing is being made; also a purge that came before is noticed."""
        self.names += tags

    def seal(self) -> Seal | None:
        """Return what must hold from now on; None = something was purged during the making: do not store."""
        if not self._stamps.is_current:  # asked first: whoever changes it begins a new generation then
            return None
        return seal(self._stamps, map(self._stamps.cell, self.names), self.began)


def seal(stamps: Stamps, tagged: Iterable[int], began: int) -> Seal | None:
    """Return the seal of a thing on these cells, made from *began* until now; None = do not store it."""
    cells = stamps.cells
    purges = cells[PURGES]  # before the stamps: whoever purges changes it after them
    taken = {GENERATION: cells[GENERATION]}
    for cell in tagged:
        taken[cell] = cells[cell]
    held = tuple(taken.values())
    return None if time_of(max(held)) >= began else Seal(tuple(taken), held, purges)


def url_tags(path: str, query: str = "") -> tuple[str, ...]:
    """Return the tags by which a response of *path* is found again: its own, and one a directory above it."""
    path = _decoded(path if path.startswith("/") else path_of(path))
    directory = path[: path.rfind("/") + 1]
    above = _directory_tags(directory) if len(directory) <= _LONG else _directories(directory)
    if query:
        return (f"url:{path}", f"url:{path}?{query}", *above)
    return (f"url:{path}", *above)


def _directories(directory: str) -> tuple[str, ...]:
    """Return a tag for *directory*, which ends with a slash, and for each above it, the root first."""
    tags: list[str] = []
    above = ""
    for piece in directory.split("/")[:-1][: _SEGMENTS + 1]:
        above += piece + "/"
        tags.append(f"under:{above}")
    return tuple(tags)


_directory_tags = lru_cache(maxsize=1024)(_directories)


def path_of(target: str) -> str:
    """Return the path of a request's *target*, which may be in absolute form: RFC 9112, section 3.2."""
    _, absolute, rest = target.partition("://")
    if target.startswith("/") or not absolute:
        return target
    return f"/{rest.partition('/')[2]}"


def url_tag(url: str) -> str:
    """Return the tag of ``/path`` with all its queries, or of ``/path?query`` alone, on any host."""
    parts = urlsplit(url)
    path = _decoded(parts.path or "/")
    return f"url:{path}?{parts.query}" if parts.query else f"url:{path}"


def prefix_tag(prefix: str) -> str:
    """Return the tag of everything below the directory *prefix*; beyond the eighth level, the eighth's."""
    if not prefix.startswith("/") or not prefix.endswith("/"):
        raise ConfigurationError("a prefix to purge begins and ends with '/'")
    return f"under:{'/'.join(_decoded(prefix).split('/')[:-1][: _SEGMENTS + 1])}/"


def _decoded(path: str) -> str:
    """Decode until nothing changes, so that a path and its decoded form get the same tags.

    What is encoded more often than anybody does is left so: each time costs the length of the path.
    """
    for _ in range(_DECODINGS):
        if "%" not in path or (once := unquote(path)) == path:
            break
        path = once
    return path
