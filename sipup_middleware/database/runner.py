"""How a statement gets from the task that asks to its connection, and who is told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from starlette.types import Scope

from sipup_middleware.context import Context
from sipup_middleware.database.disconnect import Client
from sipup_middleware.database.hold import INSIDE, Hold
from sipup_middleware.database.lease import NOTHING, Statement
from sipup_middleware.database.meters import Meters
from sipup_middleware.database.owner import who_asks
from sipup_middleware.database.pool import Pool
from sipup_middleware.errors import (
    OUTAGES,
    ClientDisconnected,
    OutcomeUnknown,
    PoolTimeout,
    QueryTimeout,
    TransactionMisuse,
)

if TYPE_CHECKING:
    from sipup_middleware.database.replicas import Replicas

__all__ = ("OnStatement", "Runner")

_NOTED = (*OUTAGES, ClientDisconnected)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Runner:
    """What all facades of one wrapped app share, and what this one's request holds."""

    __slots__ = (
        "_pool",
        "_pool_of",
        "after",
        "client",
        "context",
        "holds",
        "meters",
        "scope",
        "streaming",
        "until",
    )

    def __init__(self, pool_of: Callable[[], Pool], meters: Meters, context: Context | None = None) -> None:
        self._pool_of = pool_of
        self._pool: Pool | None = None
        self.context = context
        self.meters = meters
        self.scope: Scope | None = None
        """The one that the app was given, while it serves: its route is told in it."""
        self.after = NOTHING
        """What its reads must see of a replica; see `Replicas.wrote`."""
        self.until: float | None = None
        """When its time is over, by `perf_counter`."""
        self.client: Client | None = None
        """Who waits for the answer, where statements end when it leaves."""
        self.holds: dict[int, Hold] = {}
        self.streaming: list[object] = []
        """Who iterates over a stream that has a connection of its own."""

    @property
    def pool(self) -> Pool:
        """Where its connections come from; opened at the first use."""
        if self._pool is None:
            self._pool = self._pool_of()
        return self._pool

    def hold(self) -> Hold | None:
        """Return the hold that this task is in; raises `TransactionMisuse` where it is another task's."""
        for number in INSIDE.get():
            if (hold := self.holds.get(number)) is not None:
                hold.check()
                return hold
        return None

    async def run(
        self, statement: Statement, *, replica: bool | None = None, within: Hold | None = None
    ) -> Any:  # noqa: ANN401 (whatever the statement returns)
        """Run *statement* *within* a hold, or this task's, or on a connection leased for it alone."""
        pool = self._pool or self.pool
        hold = within or (self.hold() if self.holds else None)
        began = perf_counter()
        try:
            if self.until is not None or statement.timeout is not None:
                self._limit(statement, began)
            if hold is not None:
                hold.wrote = hold.wrote or not statement.traits.reads
                result = await self.call(statement.on, hold.lease or await hold.borrowed())
            else:
                result = await self._alone(statement, pool, replica)
        except Exception as error:
            self.meters.error.add()
            self.note(error)
            self.tell(statement, perf_counter() - began - statement.waited, error)
            raise
        took = perf_counter() - began - statement.waited
        self.meters.ok.add()
        self.meters.acquire.record(statement.waited)
        self.meters.query.record(took)
        self.meters.look(pool)
        if hold is None and not statement.traits.reads and not statement.replica:
            self.wrote()
        if self.meters.on_statement:
            self.tell(statement, took, None)
        return result

    def wrote(self) -> None:
        """Have the reads that follow see what was just committed, whoever answers them."""
        if self.pool.replicas is not None:
            self.after = self.pool.replicas.wrote()

    async def mark(self) -> str:
        """Return a word for all that is committed by now, for `see` in another request: by a cookie, say."""
        replicas = self.pool.replicas
        return "" if replicas is None else await self.call(replicas.mark)

    def see(self, mark: str) -> None:
        """Have what follows read nothing from a replica that has not come as far as *mark*, from `mark`."""
        if self.pool.replicas is not None:
            self.after = self.pool.replicas.seeing(mark, self.after)

    def call(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> Awaitable[T]:
        """Call what may take its time on the pool's home; it ends when the client leaves, if it should."""
        if self.client is None:
            return self.pool.home.call(function, *args)
        return self.client.while_there(self.pool.home.call, function, *args)

    def tell(self, statement: Statement, seconds: float, error: Exception | None) -> None:
        """Tell whoever listens of a statement that has ended; see `OnStatement`."""
        for listener in self.meters.on_statement:
            listener(self, statement, seconds, error)

    def left(self) -> float | None:
        """Return the seconds until the deadline; raises `QueryTimeout` where it has passed."""
        return None if self.until is None else self._left(perf_counter())

    def note(self, error: BaseException) -> None:
        """Let the layers around this request know of an outage that it met."""
        if isinstance(error, OutcomeUnknown):
            self.wrote()
        if isinstance(error, PoolTimeout):
            self.meters.pool_timeouts.add()
        if isinstance(error, _NOTED):
            if self.context is not None:
                self.context.failure = error
            self.meters.look(self.pool)

    def end(self) -> None:
        """Take back what tasks that outlive their request still hold; their transactions are rolled back."""
        for hold in self.holds.values():
            hold.ended = True
            if hold.lease is not None:
                self.pool.home.post(self.pool.discard, hold.lease)

    def refuse_deadlock(self) -> None:
        """Raise where every connection belongs to a stream that waits for the statement that asks for one."""
        me = who_asks() if self.streaming else None
        if sum(owner is me for owner in self.streaming) >= self.pool.max:
            raise TransactionMisuse(
                f"the streams that this task iterates over have all {self.pool.max} connections of the pool:"
                " read them to their end first, or open them in one transaction with what else is to run"
            )

    def _alone(self, statement: Statement, pool: Pool, replica: bool | None) -> Awaitable[Any]:  # noqa: FBT001 (as asked)
        if self.streaming:
            self.refuse_deadlock()
        statement.scope = self.scope
        if pool.replicas is not None:
            self._route(statement, pool.replicas, replica)
        if self.client is None and pool.home.is_here:  # a call less, for most
            return statement.on_pool(pool)
        return self.call(statement.on_pool, pool)

    def _route(self, statement: Statement, replicas: Replicas, wanted: bool | None) -> None:  # noqa: FBT001 (as asked)
        by_default = replicas.by_default and statement.traits.repeatable
        statement.replica = by_default if wanted is None else wanted
        statement.after = self.after

    def _limit(self, statement: Statement, now: float) -> None:
        if self.until is not None:
            left = self._left(now)
            if statement.timeout is None or left < statement.timeout:
                statement.timeout = left
        statement.patience = statement.timeout

    def _left(self, now: float) -> float:
        assert self.until is not None  # noqa: S101 (asked where there is a deadline)
        if self.until <= now:
            raise QueryTimeout("the deadline has passed")
        return self.until - now

    def __repr__(self) -> str:
        return f"<Facade of {'a request' if self.context else 'an open database'}, {len(self.holds)} held>"


OnStatement = Callable[[Runner, Statement, float, Exception | None], None]
"""What is told of each statement when it has ended, on the host's thread: who ran it (``context`` is its
request), what it was (``sql``, ``traits.reads``, ``waited``), the seconds on its connection, and its error.

Listeners stand in ``Meters.on_statement``: recording slow queries, say, or what a request has written."""
