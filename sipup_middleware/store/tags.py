"""What a stored thing depends on: names, each with the stamp it had before the thing was made."""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from urllib.parse import unquote, urlsplit

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store.stamps import GENERATION, PURGES, Stamps, time_of

__all__ = ("Seal", "TagSet", "prefix_tag", "url_tag", "url_tags")

_SEGMENTS = 8


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
    is the one that was there all along, and any other means a purge. A purge comes after the write that it
    is for, so a stamp that was made before the beginning and written after it finds nothing stale here.
    """

    __slots__ = ("_began", "_names", "_stamps")

    def __init__(self, stamps: Stamps, *tags: str) -> None:
        self._stamps = stamps
        self._began = stamps.now()
        self._names = [*tags]

    def add(self, *tags: str) -> None:
        """Add *tags*, now or while the thing is being made; also a purge that came before is noticed."""
        self._names += tags

    def seal(self) -> Seal | None:
        """Return what must hold from now on; None = something was purged during the making: do not store."""
        cells, cell_of = self._stamps.cells, self._stamps.cell
        purges = cells[PURGES]  # before the stamps: whoever purges changes it after them
        taken = {GENERATION: cells[GENERATION]}
        for tag in self._names:
            cell = cell_of(tag)
            taken[cell] = cells[cell]
        stamps = tuple(taken.values())
        if time_of(max(stamps)) >= self._began:
            return None
        return Seal(tuple(taken), stamps, purges)


def url_tags(path: str, query: str = "") -> tuple[str, ...]:
    """Return the tags by which a response of *path* is found again: its own, and one a directory above it."""
    path = _decoded(path)
    above = _directory_tags(path[: path.rfind("/") + 1])
    if query:
        return (f"url:{path}", f"url:{path}?{query}", *above)
    return (f"url:{path}", *above)


@lru_cache(maxsize=1024)
def _directory_tags(directory: str) -> tuple[str, ...]:
    """Return a tag for *directory*, which ends with a slash, and for each above it, the root first."""
    tags: list[str] = []
    above = ""
    for piece in directory.split("/")[:-1][: _SEGMENTS + 1]:
        above += piece + "/"
        tags.append(f"under:{above}")
    return tuple(tags)


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
    """Decode until nothing changes, so that a path and its decoded form get the same tags."""
    while "%" in path and (once := unquote(path)) != path:
        path = once
    return path
