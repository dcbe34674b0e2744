"""One pooled connection, and one statement that runs on it. Both live on the pool's home."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from sipup_middleware.database.backend import Connection, translate
from sipup_middleware.database.dirt import traits_of
from sipup_middleware.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from sipup_middleware.database.pool import Pool

__all__ = ("Lease", "Statement")

_AT_ONCE = 0.5
"""Seconds within which a cut-off means a connection that was dead before, not a statement killed."""


class Lease:
    """A connection and what the pool must know of it; made once a connection, not once a borrowing."""

    __slots__ = ("connection", "dirty", "epoch", "expires", "idle_since", "suspect")

    def __init__(self, connection: Connection, *, expires: float, epoch: int) -> None:
        self.connection = connection
        self.expires = expires
        self.epoch = epoch
        """Between which two outages it was dialled."""
        self.idle_since = 0.0
        self.dirty = False
        """The session may hold what the next borrower must not see."""
        self.suspect = False
        """A statement was cut short here: the server may still be at it."""

    def is_old(self, now: float, epoch: int) -> bool:
        """Whether its time is over, or the server was away since it was dialled."""
        return self.expires <= now or self.epoch != epoch

    async def mend(self) -> None:
        """Make it as good as new; raises what the driver raises where it cannot be."""
        if self.connection.is_in_transaction():
            await self.connection.execute("ROLLBACK")
        if self.dirty:
            await self.connection.reset()
        elif self.suspect:
            await self.connection.execute("SELECT 1")  # the driver first waits for its cancellation
        self.dirty = self.suspect = False


class Statement:
    """What to run, and how long it waited for a connection."""

    __slots__ = ("_again", "args", "method", "sql", "timeout", "traits", "waited")

    def __init__(self, method: str, sql: str, args: tuple[Any, ...], timeout: float | None) -> None:
        self.method = method
        self.sql = sql
        self.args = args
        self.timeout = timeout
        self.traits = traits_of(sql)
        self.waited = 0.0
        self._again = False

    async def on_pool(self, pool: Pool) -> Any:  # noqa: ANN401 (what the method returns)
        """Run on a connection leased for this alone; a plain read that met a dead one runs once more."""
        try:
            return await self._leased(pool)
        except DatabaseUnavailable:
            if not self._again:
                raise
        return await self._leased(pool)

    async def on(self, lease: Lease, *, alone: bool = False) -> Any:  # noqa: ANN401 (what the method returns)
        """Run on *lease*; *alone* = outside a transaction, so that a write takes effect by itself."""
        if self.traits.dirties:
            lease.dirty = True
            if self.traits.spoils:
                lease.expires = 0.0
        began = monotonic()
        try:
            return await getattr(lease.connection, self.method)(self.sql, *self.args, timeout=self.timeout)
        except Exception as error:
            uncertain = alone and not self.traits.reads
            known = translate(error, closed=lease.connection.is_closed(), uncertain=uncertain)
            if known is error:
                raise
            lease.suspect = True
            self._again = self.traits.repeatable and monotonic() - began < _AT_ONCE
            raise known from None
        except BaseException:
            lease.suspect = True
            raise

    async def _leased(self, pool: Pool) -> Any:  # noqa: ANN401 (what the method returns)
        self._again = False
        began = monotonic()
        lease = await pool.acquire()
        self.waited += monotonic() - began
        try:
            return await self.on(lease, alone=True)
        finally:
            pool.release(lease)
