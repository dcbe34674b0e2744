"""How a purge is carried out: on this host, and through the link on the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from secrets import token_hex

from anyio import CancelScope

from sipup_middleware.store.link import Link, Tags
from sipup_middleware.store.pending import Pending
from sipup_middleware.store.report import Report
from sipup_middleware.store.stamps import GENERATION, Stamps
from sipup_middleware.store.tags import prefix_tag, url_tag
from sipup_middleware.telemetry import ResponsesPurged

__all__ = ("Purges", "names_of")


class Purges:
    """Purges of tags; None = of everything."""

    def __init__(self, stamps: Stamps, link: Link | None, report: Report) -> None:
        self._stamps = stamps
        self._link = link
        self._report = report

    async def after(self, names: Tags) -> None:
        """Purge because of a write that is over."""
        cells = self._cells(names)
        if self._link is None:
            self._stamps.purge(cells)
            self._count(names)
        else:  # pending until the server knows, lest this host fetch from it what is purged
            await self._finish(names, self._stamps.pend(cells), "")

    @asynccontextmanager
    async def around(self, names: Tags) -> AsyncIterator[None]:
        """Purge because of the write that is the body."""
        token = token_hex(8)
        pending = self._stamps.pend(self._cells(names))
        try:
            if self._link is not None:
                await self._link.announce(names, token)
            yield
        finally:
            await self._finish(names, pending, token)

    async def _finish(self, names: Tags, pending: Pending, token: str) -> None:
        if self._link is None:
            self._stamps.finish(pending)
        else:
            with CancelScope(shield=True):  # bounded by the store's timeout
                await self._link.purge(names, pending, token)
        self._count(names)

    def _cells(self, names: Tags) -> list[int]:
        return [GENERATION] if names is None else self._stamps.cells_of(names)

    def _count(self, names: Tags) -> None:
        self._report.count("cache.purges")
        self._report.emit(ResponsesPurged(len(names or ())))


def names_of(tags: Iterable[str], url: str | None, prefix: str | None) -> list[str]:
    """Return every tag that a purge names."""
    names = [tags] if isinstance(tags, str) else list(tags)
    if url is not None:
        names.append(url_tag(url))
    if prefix is not None:
        names.append(prefix_tag(prefix))
    return names
