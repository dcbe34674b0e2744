"""Hears the purges of other hosts in the order in which they were told, and carries them out on this one.

Whatever was told up to the moment at which the server was asked, this host has carried out when it has the
answer. For a second after that moment it is trusted, by a clock that runs on while the process is frozen. So
a purge of another host is missed for a second at most, whatever dies.

Where the order has a gap, or the server is another or was started anew, something may have been missed: then
a new generation begins on this host.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from itertools import islice

from sipup_middleware.errors import StoreUnavailable
from sipup_middleware.store.debts import Debts, cells_of
from sipup_middleware.store.messages import BATCH, Exchange, Head, Message, name_of
from sipup_middleware.store.pending import Pending
from sipup_middleware.store.report import Report
from sipup_middleware.store.stamps import GENERATION, Stamps
from sipup_middleware.telemetry import BackendLost, BackendRestored

__all__ = ("TRUST", "Listener", "uptime")

TRUST = 1.0
"""Seconds for which a host may go on without having heard from the server."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_PATIENCE = 0.5
_RENEW = 3.0
_TOLD_AT_ONCE = 1000
_REMEMBERED = 1024
_LAYER = "store:link"


class _Gap(Exception):
    """Something was missed, or may have been: begin anew."""


def uptime() -> float:
    """Return the seconds since the machine started, with those in which it slept where it tells them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Listener:
    """Lives on one loop with its server; others may read what is public here, and call `caught_up` there."""

    def __init__(
        self,
        server: Exchange,
        stamps: Stamps,
        report: Report,
        *,
        clock: Callable[[], float] = uptime,
    ) -> None:
        self.clock = clock
        self.trusted_until = 0.0
        """By `clock`."""
        self.since = 0
        """When this host began to hear everything, as stamps tell it; 0 = it does not yet."""
        self.name = self.host = ""
        """The secret's name, and this host's among those who have the secret; "" = not known yet."""
        self.number = 0
        """Of the last message that was carried out."""
        self.replayed = 0
        self.tried = asyncio.Event()
        """Set when the server was reached, or could not be."""
        self._server = server
        self._stamps = stamps
        self.debts = Debts(stamps)
        self._report = report
        self._secret = self._run = ""
        self._is_behind = self._is_lost = False
        self._renewed = 0.0
        self._pending: dict[str, Pending] = {}
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._connect()
                self.tried.set()
                while True:
                    await self._listen()
                    pause = _FIRST_PAUSE
            except _Gap:
                self._run = ""
            except StoreUnavailable as error:
                self._lost(str(error))
            self.tried.set()
            self._keep_debts()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def caught_up(self, number: int) -> bool:
        """Wait until the message of this *number* was carried out; False = it takes too long."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while self.number < number:
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    async def aclose(self) -> None:
        """Tell what is still owed, if the server answers now."""
        self.trusted_until = 0.0
        with suppress(StoreUnavailable, _Gap):
            await self._replay()
        with suppress(StoreUnavailable):
            await self._server.aclose()

    async def _replay(self) -> None:
        while digests := tuple(islice(self.debts.digests, _TOLD_AT_ONCE)):
            told = Message(self.host, "", digests)
            if not self.name or not await self._server.tell(self.name, told):
                raise _Gap
            self.debts.settle(digests)
            self.replayed += len(digests)

    async def _pay(self) -> None:
        self.debts.inherit()
        await self._replay()

    async def _connect(self) -> None:
        asked = self.clock()
        head = await self._server.link()
        if head.secret != self._secret or head.run != self._run or head.number < self.number:
            self._begin(head)
        await self._pay()
        if head.number == self.number:
            self._trust(asked)

    def _begin(self, head: Head) -> None:
        """Hear everything from now on; what was stored before is given up."""
        if head.secret != self._secret:
            self._adopt(head.secret)
        if self.since:
            self._stamps.purge([GENERATION])
        self.number, self._run, self._is_behind = head.number, head.run, False
        self._pending.clear()
        announced = dict[str, Message]()
        for message in head.messages:
            if message.is_pending:
                announced[message.token] = message
            else:
                announced.pop(message.token, None)
        for message in announced.values():
            self._carry_out(message)
        self.since = self._stamps.now()

    def _adopt(self, secret: str) -> None:
        key = bytes.fromhex(secret)
        self._stamps.adopt(key)
        self.host = blake2b(self._stamps.host, digest_size=8, key=key).hexdigest()
        self._secret, self.name = secret, name_of(secret)
        if self.debts.digests:
            self.debts.owe_everything()

    async def _listen(self) -> None:
        await self._pay()
        asked = self.clock()
        head = await self._server.listen(self.number)
        if head.secret != self.name or head.number < self.number:
            raise _Gap
        for message in head.messages:
            if message.number != self.number + 1:
                raise _Gap
            self._carry_out(message)
            self.number = message.number
        self._move(head)
        if not self._is_behind and len(head.messages) < BATCH:
            self._trust(asked)

    def _move(self, head: Head) -> None:
        """Let those go on who wait for a message; one that should be there and twice is not, is lost."""
        if head.messages:
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()
        was_behind = self._is_behind
        self._is_behind = not head.messages and head.number > self.number
        if was_behind and self._is_behind:
            raise _Gap

    def _carry_out(self, message: Message) -> None:
        if message.host == self.host:
            return  # all workers of a host share its stamps, and the one who tells bumps them first
        cells = cells_of(message.digests)
        if message.is_pending:
            if len(self._pending) >= _REMEMBERED:
                del self._pending[next(iter(self._pending))]
            self._pending[message.token] = self._stamps.pend(cells)
        elif (pending := self._pending.pop(message.token, None)) is None:
            self._stamps.purge(cells)
        else:
            self._stamps.finish(pending)

    def _keep_debts(self) -> None:
        now = self.clock()
        if self.debts.digests and now >= self._renewed + _RENEW:
            self._renewed = now
            self.debts.renew()

    def _trust(self, asked: float) -> None:
        self.trusted_until = asked + TRUST
        if self._is_lost:
            self._is_lost = False
            self._report.emit(BackendRestored(_LAYER))

    def _lost(self, reason: str) -> None:
        if not self._is_lost and self.clock() >= self.trusted_until:
            self._is_lost = True
            self._report.emit(BackendLost(_LAYER, reason))
