"""One pooled connection, and one statement that runs on it. Both live on the pool's home."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.types import Scope

from sipup_middleware.database.backend import Connection, is_for_the_primary, translate
from sipup_middleware.database.dirt import traits_of
from sipup_middleware.database.leaks import Borrower
from sipup_middleware.database.pooler import refuse_session_state
from sipup_middleware.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from sipup_middleware.database.pool import Pool

__all__ = ("NOTHING", "After", "Lease", "Statement")

_AT_ONCE = 0.5
"""Seconds within which a cut-off means a connection that was dead before, not a statement killed."""


class Lease:
    """A connection and what the pool must know of it; made once a connection, not once a borrowing."""

    __slots__ = ("borrower", "connection", "dirty", "expires", "idle_since", "pooled", "since", "suspect")

    def __init__(self, connection: Connection, *, expires: float, pooled: bool = False) -> None:
        self.connection = connection
        self.pooled = pooled
        """It leads to a transaction pooler: its session is nobody's."""
        self.expires = expires
        """When it is to be renewed; 0 = once it comes back."""
        self.borrower: Borrower | None = None
        """Who has it, where that is watched."""
        self.since = 0.0
        """When it was borrowed."""
        self.idle_since = 0.0
        self.dirty = False
        """The session may hold what the next borrower must not see."""
        self.suspect = False
        """A statement was cut short here: the server may still be at it."""

    async def mend(self) -> bool:
        """Make it as good as new, by a reset if that is what it takes: True.

        Raises what the driver raises where it cannot be.
        """
        reset = self.dirty
        if self.connection.is_in_transaction():
            await self.connection.execute("ROLLBACK")
        if reset:
            await self.connection.reset()
        elif self.suspect:
            await self.connection.execute("SELECT 1")  # the driver first waits for its cancellation
        self.dirty = self.suspect = False
        return reset


class After(NamedTuple):
    """What a read must see."""

    write: int
    """The last write of its reader, by our number."""

    position: int
    """The log up to here, which another process has told."""


NOTHING = After(0, 0)


class Statement:
    """What to run, for whom, and how long it waited for a connection."""

    __slots__ = (
        "_again",
        "after",
        "args",
        "method",
        "patience",
        "replica",
        "scope",
        "sql",
        "timeout",
        "traits",
        "waited",
    )

    def __init__(self, method: str, sql: str, args: tuple[Any, ...], timeout: float | None) -> None:
        self.method = method
        self.sql = sql
        self.args = args
        self.timeout = timeout
        self.traits = traits_of(sql)
        self.patience: float | None = None
        """Seconds to wait for a connection, where less than the pool's ``acquire_timeout``."""
        self.replica = False
        """A replica may answer it; in the end, one did."""
        self.after = NOTHING
        """What it must see there; see `Replicas.wrote`."""
        self.scope: Scope | None = None
        """The request's."""
        self.waited = 0.0
        self._again = False

    @property
    def held_by(self) -> str:
        """What holds its connection."""
        return self.method

    @property
    def where(self) -> tuple[str, ...]:
        """Nothing: walking the stack would cost each statement more than its lease does."""
        return ()

    async def on_pool(self, pool: Pool) -> Any:  # noqa: ANN401 (what the method returns)
        """Run on a connection leased for this alone; a plain read that met a dead one runs once more."""
        if self.replica and pool.replicas is not None and not self.traits.dirties:
            replica = pool.replicas.pick(self.after)
            if replica is not None:
                return await self._on_replica(replica, pool)
        self.replica = False
        return await self._on_primary(pool)

    async def _on_primary(self, pool: Pool) -> Any:  # noqa: ANN401 (what the method returns)
        try:
            return await self._leased(pool)
        except DatabaseUnavailable:
            if not self._again:
                raise
        return await self._leased(pool)

    async def _on_replica(self, replica: Pool, primary: Pool) -> Any:  # noqa: ANN401 (what the method returns)
        """Run on *replica*; where that is away, or refuses what only a primary does, on *primary*."""
        try:
            return await self._leased(replica)
        except DatabaseUnavailable:
            pass
        except Exception as error:
            if not is_for_the_primary(error):
                raise
        self.replica = False
        return await self._on_primary(primary)

    async def on(self, lease: Lease, *, alone: bool = False) -> Any:  # noqa: ANN401 (what the method returns)
        """Run on *lease*; *alone* = outside a transaction, so that a write takes effect by itself."""
        if self.traits.dirties:
            if lease.pooled:
                refuse_session_state(self.sql)
            lease.dirty = True
            if self.traits.spoils:
                lease.expires = 0.0
        began = monotonic()
        try:
            return await self.send(lease.connection)
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

    def send(self, connection: Connection) -> Awaitable[Any]:
        """Ask the driver; what is more than a method's call says so itself."""
        method: Callable[..., Awaitable[Any]] = getattr(connection, self.method)
        return method(self.sql, *self.args, timeout=self.timeout)

    async def _leased(self, pool: Pool) -> Any:  # noqa: ANN401 (what the method returns)
        self._again = False
        began = monotonic()
        lease = await pool.acquire(self.patience)
        waited = monotonic() - began
        self.waited += waited
        if self.timeout is not None:
            self.timeout -= waited
        lease.borrower = self
        try:
            return await self.on(lease, alone=not self.replica)  # a replica cannot have written
        finally:
            pool.release(lease)
