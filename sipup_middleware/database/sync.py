"""The facade for ``def`` handlers: they run in a thread, and block it where others await.

Each call is made on the host's own loop where the host has sent the thread (Starlette, FastAPI, Litestar), so
that it ends with its request; else on the pool's home. The thread counts as a task: its transactions are its
own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import AbstractContextManager
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from anyio import NoEventLoopError, from_thread

from sipup_middleware.bridge import GRACE, Home
from sipup_middleware.database.attempts import Attempt, Attempts
from sipup_middleware.database.backend import Isolation, Record
from sipup_middleware.database.hold import INSIDE
from sipup_middleware.database.owner import as_this_thread, on_a_loop
from sipup_middleware.database.transaction import Options, Transaction
from sipup_middleware.errors import ConfigurationError, DatabaseUnavailable

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("SyncFacade",)

_ENDED = "the event loop that the pool lived on has ended"

_P = ParamSpec("_P")
T = TypeVar("T")


class SyncFacade:
    """What `Facade` does, blocking; it raises `ConfigurationError` on a thread that runs an event loop."""

    __slots__ = ("_facade",)

    def __init__(self, facade: Facade) -> None:
        self._facade = facade

    def run(self, function: Callable[_P, Awaitable[T]], *args: _P.args, **kwargs: _P.kwargs) -> T:
        """Return what ``await function(*args)`` would: for methods of the facade that have no twin here."""
        if on_a_loop():
            raise ConfigurationError("db.sync is for threads: here an event loop runs, so await db.fetch, …")

        async def call() -> T:
            return await function(*args, **kwargs)

        with as_this_thread():
            return _called(self._facade.pool.home, call)

    def fetch(self, sql: str, *args: object, timeout: float | None = None) -> list[Record]:
        """Return all rows."""
        return self.run(self._facade.fetch, sql, *args, timeout=timeout)

    def fetchrow(self, sql: str, *args: object, timeout: float | None = None) -> Record | None:
        """Return the first row; None where there is none."""
        return self.run(self._facade.fetchrow, sql, *args, timeout=timeout)

    def fetchval(self, sql: str, *args: object, timeout: float | None = None) -> Any:  # noqa: ANN401 (what the column holds)
        """Return the first row's first column; None where there is no row."""
        return self.run(self._facade.fetchval, sql, *args, timeout=timeout)

    def execute(self, sql: str, *args: object, timeout: float | None = None) -> str:
        """Return the status, e.g. ``UPDATE 3``."""
        return self.run(self._facade.execute, sql, *args, timeout=timeout)

    def executemany(
        self, sql: str, args: Iterable[Sequence[object]], *, timeout: float | None = None
    ) -> None:
        """Run *sql* once for each of *args*: all of them or none."""
        self.run(self._facade.executemany, sql, args, timeout=timeout)

    def stream(
        self, sql: str, *args: object, prefetch: int = 500, timeout: float | None = None
    ) -> Iterator[Record]:
        """Iterate over rows that need not fit into memory."""
        stream = self._facade.stream(sql, *args, prefetch=prefetch, timeout=timeout)
        try:
            while rows := self.run(stream.batch):
                yield from rows
        finally:
            if not on_a_loop():  # else it is collected there, and its transaction ends by itself
                self.run(stream.aclose)

    def transaction(
        self, isolation: Isolation | None = None, *, readonly: bool = False, deferrable: bool = False
    ) -> AbstractContextManager[None]:
        """Commit what this thread runs inside, all of it; roll it back where the block raises."""
        transaction = Transaction(self._facade, Options(isolation, readonly, deferrable))
        return _Block(self, transaction, transaction)

    def attempts(
        self,
        number: int = 3,
        *,
        isolation: Isolation | None = None,
        readonly: bool = False,
        deferrable: bool = False,
    ) -> Iterator[AbstractContextManager[None]]:
        """Run a transaction again, whole, where others were in its way: ``for``, then ``with``."""
        attempts = Attempts(self._facade, number, Options(isolation, readonly, deferrable))
        while (attempt := self.run(attempts.next)) is not None:
            yield _Block(self, attempt, attempt.transaction)


class _Block:
    """``with`` for what is entered by ``async with``; the thread is inside of it meanwhile."""

    __slots__ = ("_entered", "_sync", "_token", "_transaction")

    def __init__(self, sync: SyncFacade, entered: Transaction | Attempt, transaction: Transaction) -> None:
        self._sync = sync
        self._entered = entered
        self._transaction = transaction
        self._token: Token[tuple[int, ...]] | None = None

    def __enter__(self) -> None:
        self._sync.run(self._entered.__aenter__)
        self._token = INSIDE.set((*INSIDE.get(), self._transaction.number))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        assert self._token is not None  # noqa: S101 (entered before it is left)
        try:
            return bool(self._sync.run(self._entered.__aexit__, kind, error, trace))
        finally:
            INSIDE.reset(self._token)


def _called(home: Home, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return from_thread.run(call)
    except NoEventLoopError:  # not a thread of anyio's
        if not home.alive:
            raise DatabaseUnavailable(_ENDED) from None
        return _called_at(home, call)


def _called_at(home: Home, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    future = asyncio.run_coroutine_threadsafe(call(), home.loop)
    try:
        while home.alive and not wait([future], GRACE).done:
            pass
    finally:
        if not future.done():
            future.cancel()
    if future.cancelled():
        raise DatabaseUnavailable(_ENDED)
    return future.result()
