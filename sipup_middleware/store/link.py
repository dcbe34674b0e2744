"""How the purges of one host reach the others: through Redis or Valkey, where their stamps are keys too.

Tags go there as digests under a secret that the hosts share: no name and no value is told in the clear. What
a host could not tell stays pending on it, and is told before anything is heard again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sipup_middleware.bridge import Background, Home, spawn
from sipup_middleware.errors import StoreUnavailable
from sipup_middleware.store.debts import cells_of
from sipup_middleware.store.listener import Listener
from sipup_middleware.store.messages import EVERYTHING, Exchange, Message
from sipup_middleware.store.pending import Pending
from sipup_middleware.store.report import Report
from sipup_middleware.store.stamps import Stamps
from sipup_middleware.store.tags import Seal, TagSet, seal

__all__ = ("Link", "Tags")

Tags = Sequence[str] | None
"""None = everything."""


class Link:
    """One process's part; called from any loop, works on its *home*."""

    def __init__(  # noqa: PLR0913 (what it is made of)
        self, server: Exchange, home: Home, stamps: Stamps, report: Report, listener: Listener, *, watch: Home
    ) -> None:
        """Take a *listener* on *watch*, a loop that does not wait for the host's: it must hear in time."""
        self._server = server
        self._home = home
        self._stamps = stamps
        self._report = report
        self._listener = listener
        self._watch = watch
        self._background: Background | None = None

    @property
    def is_up(self) -> bool:
        """Whether this host has carried out what others told until a moment ago."""
        return self._listener.clock() < self._listener.trusted_until

    def trusts(self, held: Seal) -> bool:
        """Say whether what is valid here is valid everywhere: with tags of its own, while the link is up."""
        return len(held.cells) == 1 or self._listener.clock() < self._listener.trusted_until

    def admits(self, tags: TagSet) -> bool:
        """Say whether a thing may be kept in process: every purge since its making began was heard of."""
        since = self._listener.since
        return 0 < since <= tags.began and (not tags.names or self.is_up)

    def begin(self) -> None:
        """Start to listen."""
        self._background = spawn(self._watch, self._listener.run, name="store:link")

    async def start(self) -> None:
        """Wait until the link is up, or could not be made."""
        await self._watch.call(self._listener.tried.wait)

    async def aclose(self) -> None:
        """Listen no more; on the home."""
        if self._background is not None:
            await self._background.aclose()
        await self._watch.call(self._listener.aclose)
        with suppress(StoreUnavailable):
            await self._server.aclose()

    def stats(self) -> dict[str, int]:
        """Return whether the link is up, and how many tags were purged on other hosts later than here."""
        return {"link": int(self.is_up), "replayed": self._listener.replayed}

    async def announce(self, tags: Tags, token: str) -> None:
        """Tell the other hosts that a write on *tags* is pending; where that fails, `purge` must do."""
        with suppress(RuntimeError):  # the loop was closed
            await self._home.call(self._announce, tags, token)

    async def purge(self, tags: Tags, pending: Pending, token: str = "") -> None:
        """Purge *tags*, which are *pending* here, on every host: now, or as soon as the server answers."""
        try:
            await self._home.call(self._purge, tags, pending, token)
        except RuntimeError:
            self._stamps.finish(pending)

    async def stamp(self, tags: TagSet, life: float) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Return digests and stamps for a thing that all hosts may use; None = it must not be shared."""
        if not self.is_up:
            return None
        digests = [EVERYTHING, *map(self._stamps.digest, dict.fromkeys(tags.names))]
        stamps = await self._home.call(self._stamp, digests, life)
        if stamps is None or not self.admits(tags) or tags.seal() is None:
            return None
        return tuple(digest.hex() for digest in digests), tuple(stamps)

    async def seal(self, digests: Sequence[str], stamps: Sequence[str], began: int) -> Seal | None:
        """Return under what a thing may be kept that was fetched since *began*; None = it is stale.

        Raises ValueError, TypeError or LookupError for what `stamp` cannot have returned.
        """
        known = [bytes.fromhex(digest) for digest in digests]
        if known[0] != EVERYTHING or len(known) != len(stamps) or not all(stamps):
            raise ValueError("not digests and their stamps")
        found = await self._home.call(self._read, known)
        if (
            found != [*stamps]
            or not self.is_up
            or not self._stamps.is_current
            or began < self._listener.since
        ):
            return None
        return seal(self._stamps, cells_of(known[1:]), began)

    async def _announce(self, tags: Tags, token: str) -> None:
        await self._tell(self._digests(tags), token, pending=True)

    async def _purge(self, tags: Tags, pending: Pending, token: str) -> None:
        digests, told = self._digests(tags), False
        try:
            told = await self._tell(digests, token, pending=False)
        finally:
            if told:
                self._stamps.finish(pending)
            else:  # also where the caller was cancelled
                self._watch.post(self._listener.debts.add, digests, pending)

    def _digests(self, tags: Tags) -> tuple[bytes, ...]:
        if tags is None or not self._listener.name:
            return (EVERYTHING,)
        return tuple(dict.fromkeys(map(self._stamps.digest, tags)))

    async def _tell(self, digests: tuple[bytes, ...], token: str, *, pending: bool) -> bool:
        """Say whether the server knows now; while the link is down it is not asked."""
        if not self.is_up:
            return False
        message = Message(self._listener.host, token, digests, is_pending=pending)
        try:
            return await self._server.tell(self._listener.name, message)
        except StoreUnavailable:
            self._report.count("store.errors", op="purge")
            return False

    async def _stamp(self, digests: Sequence[bytes], life: float) -> list[str] | None:
        try:
            found = await self._server.stamps(self._listener.name, digests, life)
        except StoreUnavailable:
            self._report.count("store.errors", op="stamps")
            return None
        if found is None:
            return None
        number, stamps = found
        if number <= self._listener.number or await self._watch.call(self._listener.caught_up, number):
            return stamps
        return None

    async def _read(self, digests: Sequence[bytes]) -> list[str]:
        try:
            return await self._server.read(digests)
        except StoreUnavailable:
            self._report.count("store.errors", op="stamps")
            return []
