"""Who waits for a connection: strictly first come, first served, and nobody for longer than it makes sense.

How long a newcomer will wait is known: those before it, times what a borrowing lasts, over the connections.
Who would wait past its patience is told so at once, while it can still be answered by something else.

One timer serves the whole line, as all who came before have waited longer. Only who brings a shorter patience
has a timer of its own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from sipup_middleware.database.lease import Lease
from sipup_middleware.errors import PoolTimeout

if TYPE_CHECKING:
    from sipup_middleware.database.pool import Pool

__all__ = ("Line", "Waiter")

Waiter = asyncio.Future[Lease]


class Line:
    """The waiting of one pool, on its home."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = pool.home.loop
        self.waiting: OrderedDict[Waiter, float] = OrderedDict()
        """Until when each will wait, on the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    def join(self, patience: float | None) -> Waiter:
        """Return what a connection will be put into; raises `PoolTimeout` where waiting is of no use."""
        config = self._pool.config
        whole = patience is None or patience >= config.acquire_timeout
        allowed = config.acquire_timeout if whole or patience is None else patience
        self._refuse_if_in_vain(allowed)
        waiter: Waiter = self._loop.create_future()
        until = self._loop.time() + allowed
        self.waiting[waiter] = until
        if not whole:
            timer = self._loop.call_later(allowed, self._expire, waiter, allowed)
            waiter.add_done_callback(lambda _: timer.cancel())
        elif self._timer is None:
            self._timer = self._loop.call_at(until, self._sweep)
        return waiter

    def first(self) -> Waiter | None:
        """Take the one who has waited longest out of the line; None where nobody waits."""
        while self.waiting:
            waiter, _ = self.waiting.popitem(last=False)
            if not waiter.done():
                return waiter
        return None

    def leave(self, waiter: Waiter) -> None:
        """Forget one who gave up."""
        self.waiting.pop(waiter, None)

    def predicted(self) -> float:
        """Return the seconds a newcomer would wait; what is being dialled or mended is as good as free."""
        pool = self._pool
        coming = pool.max - len(pool.all) + pool.mending
        return max(0, len(self.waiting) + 1 - coming) * pool.hold / pool.max

    def dismiss(self, error: Callable[[], Exception]) -> None:
        """Send all away, each with an error of its own."""
        while (waiter := self.first()) is not None:
            waiter.set_exception(error())

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _refuse_if_in_vain(self, allowed: float) -> None:
        if len(self.waiting) >= self._pool.config.max_waiting:
            raise self._exhausted("shed", "too many wait for a connection")
        if (predicted := self.predicted()) > allowed:
            raise self._exhausted("shed", f"a connection would come free in {predicted:.1f} s")

    def _sweep(self) -> None:
        """Dismiss those whose patience is over; come back when the next one's is."""
        self._timer = None
        now = self._loop.time()
        while self.waiting:
            waiter, until = next(iter(self.waiting.items()))
            if until > now and not waiter.done():
                self._timer = self._loop.call_at(until, self._sweep)
                return
            self._expire(waiter, self._pool.config.acquire_timeout)

    def _expire(self, waiter: Waiter, allowed: float) -> None:
        if not waiter.done():
            waiter.set_exception(
                self._exhausted("timed_out", f"no connection came free within {allowed:g} s")
            )
        self.leave(waiter)

    def _exhausted(self, event: str, reason: str) -> PoolTimeout:
        self._pool.tally.count(event)
        stats = self._pool.stats()
        return PoolTimeout(f"{reason} ({', '.join(f'{name} {n:g}' for name, n in stats.items())})", stats)
