"""How PostgreSQL is dialled, and what its driver's errors mean: the only module that knows asyncpg.

Messages of the driver may hold a host, a user or a DSN: an error of ours says only its type.
"""

# ruff: noqa: ASYNC109 (asyncpg takes timeouts as parameters: it then cancels on the server too)

from __future__ import annotations

import select
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeGuard
from urllib.parse import parse_qs, urlsplit

from sipup_middleware.errors import DatabaseUnavailable, MissingExtra, OutcomeUnknown, QueryTimeout

try:
    import asyncpg
    from asyncpg import Record
except ImportError as missing:
    raise MissingExtra("database") from missing

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[Record]
else:
    _Connection = asyncpg.Connection

__all__ = (
    "Connection",
    "Cursor",
    "Dial",
    "Isolation",
    "PooledSession",
    "Record",
    "Session",
    "Unit",
    "dialler",
    "is_drivers",
    "is_for_the_primary",
    "met_others",
    "said_no",
    "translate",
)

Isolation = Literal["read_committed", "read_uncommitted", "repeatable_read", "serializable"]

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InternalClientError,  # the driver met a statement and the server's last word at once
)

_MORE_RESET = "RESET ROLE;\nSET SESSION AUTHORIZATION DEFAULT;\nDISCARD TEMP;\nDISCARD SEQUENCES;"
"""What asyncpg's own reset leaves standing; not DISCARD ALL: it breaks the statement cache for good."""

_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}


class Unit(Protocol):
    """A transaction, or a savepoint inside one."""

    async def start(self) -> None:
        """Send BEGIN or SAVEPOINT."""

    async def commit(self) -> None:
        """Send COMMIT or RELEASE."""

    async def rollback(self) -> None:
        """Send ROLLBACK, whole or to the savepoint."""


class Cursor(Protocol):
    """Rows of one query that the server keeps until they are asked for."""

    async def fetch(self, n: int, *, timeout: float | None = None) -> list[Record]:
        """Return the next *n* rows; fewer where there are no more."""


class Connection(Protocol):
    """One session, on the loop that dialled it."""

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> list[Record]:
        """Return all rows."""

    async def fetchrow(self, query: str, *args: object, timeout: float | None = None) -> Record | None:
        """Return the first row, or None."""

    async def fetchval(self, query: str, *args: object, timeout: float | None = None) -> object:
        """Return the first row's first column, or None."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """Return the status line; without arguments, *query* may be several statements."""

    async def executemany(
        self, command: str, args: Iterable[Sequence[object]], *, timeout: float | None = None
    ) -> object:
        """Run *command* once for each of *args*, all or none."""

    def cursor(self, query: str, *args: object, timeout: float | None = None) -> Awaitable[Cursor]:
        """Open a cursor in the transaction that is open."""

    def transaction(
        self, *, isolation: Isolation | None = None, readonly: bool = False, deferrable: bool = False
    ) -> Unit:
        """Return a transaction to start; a savepoint where one has started."""

    async def reset(self, *, timeout: float | None = None) -> None:
        """Bring the session back to what it was when it was dialled."""

    async def close(self, *, timeout: float | None = None) -> None:
        """Say goodbye to the server."""

    def terminate(self) -> None:
        """Drop the socket."""

    def is_closed(self) -> bool:
        """Whether the socket is known to be gone."""

    def is_quiet(self) -> bool:
        """Whether the server has said nothing since it last answered: a goodbye, for one."""

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, or has failed."""


Dial = Callable[[float], Awaitable[Connection]]
"""Opens one connection within that many seconds; raises what the driver raises."""


class Session(_Connection):
    """asyncpg's connection with a whole reset, and a COMMIT that does not pass for one when it was none."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        """Reset the role, temporary tables and sequences too."""
        return f"{super().get_reset_query()}\n{_MORE_RESET}"

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """Run *query*; raises where the server answers COMMIT by rolling back: asyncpg would not."""
        status: str = await super().execute(query, *args, timeout=timeout)
        if status == "ROLLBACK" and query.startswith("COMMIT"):
            raise asyncpg.InFailedSQLTransactionError(
                "nothing was committed: an earlier statement of this transaction had failed"
            )
        return status

    def is_quiet(self) -> bool:
        """Whether nothing waits to be read; a dead server's last word may not have reached the loop yet."""
        link = self._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # (asyncpg's only way)
        if link is None or link.fileno() < 0 or not hasattr(select, "poll"):
            return link is not None and link.fileno() >= 0
        poll = select.poll()
        poll.register(link.fileno(), select.POLLIN)
        return not poll.poll(0)


class PooledSession(Session):
    """A session behind a pooler that lends it out a transaction at a time: there is nothing to reset."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        """Return no query: what it would reset is another client's."""
        return ""


def dialler(url: str, *, pooler: bool = False) -> Dial:
    """Return what opens a connection to *url*; *pooler*: to a transaction pooler there.

    Statements are not prepared by name behind one, since the next may run on another server connection.
    """
    options: dict[str, Any] = {"connection_class": Session}
    if pooler:
        options = {"connection_class": PooledSession, "statement_cache_size": 0}
    elif "application_name" not in parse_qs(urlsplit(url).query):
        options["server_settings"] = {"application_name": "sipup_middleware"}

    async def dial(timeout: float) -> Connection:
        connection: Connection = await asyncpg.connect(url, timeout=timeout, **options)
        _keep_alive(connection)
        return connection

    return dial


def _keep_alive(connection: Connection) -> None:
    """Let the kernel notice a peer that is gone; asyncpg has no option for it."""
    transport = connection._transport  # type: ignore[attr-defined]  # noqa: SLF001 (asyncpg's only way)
    link = transport.get_extra_info("socket")
    if link is None or link.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:  # each platform has its own
            link.setsockopt(socket.IPPROTO_TCP, option, value)


def said_no(error: Exception) -> bool:
    """Whether the server is there and refused a dial: too many connections, a wrong password."""
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, _LOST)


def met_others(error: BaseException) -> bool:
    """Whether a transaction failed because of others at the same time: run once more, it may succeed.

    40001, 40P01, and a statement whose table was altered since it was prepared.
    """
    return isinstance(
        error,
        (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.InvalidCachedStatementError),
    )


def is_for_the_primary(error: Exception) -> bool:
    """Whether a standby could not answer a read that the primary can: replay cancelled it, or it writes."""
    refusals = (asyncpg.ReadOnlySQLTransactionError, asyncpg.ObjectNotInPrerequisiteStateError)
    return met_others(error) or isinstance(error, refusals)


def is_drivers(error: BaseException | None) -> TypeGuard[Exception]:
    """Whether the driver, or the server through it, raised *error*."""
    return isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError))


def translate(error: Exception, *, closed: bool, uncertain: bool) -> Exception:
    """Return our error for what a statement raised; *error* itself where it is the statement's own fault.

    *closed*: the connection is gone. *uncertain*: if it was cut off, nobody knows whether it happened.
    """
    name = type(error).__name__
    if isinstance(error, (TimeoutError, asyncpg.QueryCanceledError)):
        return QueryTimeout(f"the statement ran past its time ({name})")
    if isinstance(error, asyncpg.InterfaceError) and closed:  # refused by the driver: nothing was sent
        return DatabaseUnavailable(f"the connection to PostgreSQL is gone ({name})")
    if isinstance(error, _LOST) or (isinstance(error, OSError) and closed):
        if uncertain:
            return OutcomeUnknown(f"the connection to PostgreSQL broke during a write ({name})")
        return DatabaseUnavailable(f"the connection to PostgreSQL broke ({name})")
    return error
