"""Everything this package raises.

* SipupError
  - ConfigurationError      (also ValueError)    something was described wrongly
  - BackendUnavailable      (also OSError)       a server did not answer
    - DatabaseUnavailable                        PostgreSQL
    - StoreUnavailable                           Redis, Valkey or Memcached, as a store or a limiter's storage
    - JobsUnavailable                            the queue's broker
  - PoolTimeout             (also TimeoutError)  no connection came free in time
  - QueryTimeout            (also TimeoutError)  a statement ran past its time
  - ClientDisconnected      (also ConnectionError)  the client left, and what ran for it was cancelled
  - OutcomeUnknown          (also RuntimeError)  a write was cut off: it may or may not have happened
  - TransactionMisuse       (also RuntimeError)  a transaction was used where it is not open
  - RowRefused              (also ValueError)    a record of a bulk write does not fit its table
  - MissingExtra            (also ImportError)   a layer's library is not installed
  - PluginNotFound          (also LookupError)   no installed plugin has that name

A handler may let an `OUTAGES` error fly: the client then gets a problem document, 503 or 504 (`outage.py`).
No message holds SQL parameters, a URL's password or a client's address.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = (
    "OUTAGES",
    "BackendUnavailable",
    "ClientDisconnected",
    "ConfigurationError",
    "DatabaseUnavailable",
    "JobFailed",
    "JobsUnavailable",
    "MissingExtra",
    "OutcomeUnknown",
    "PluginNotFound",
    "PoolTimeout",
    "QueryTimeout",
    "RowRefused",
    "SipupError",
    "StoreUnavailable",
    "TransactionMisuse",
)


class SipupError(Exception):
    """Base of every error raised by this package."""


class ConfigurationError(SipupError, ValueError):
    """Raised when a layer is described wrongly: as it is built, or at the first request that needs it."""


class BackendUnavailable(SipupError, OSError):
    """Raised when a server that a layer depends on does not answer."""


class DatabaseUnavailable(BackendUnavailable):
    """Raised when PostgreSQL is down, restarting or out of reach; the statement did not run."""


class StoreUnavailable(BackendUnavailable):
    """Raised when a store or a limiter's storage does not answer."""


class JobsUnavailable(BackendUnavailable):
    """Raised when a job could not be handed to its broker."""


class JobFailed(SipupError, RuntimeError):
    """Raised when the result of a job is asked for that has failed for good."""


class PoolTimeout(SipupError, TimeoutError):
    """Raised when no connection came free within the pool's ``acquire_timeout``, or none will.

    ``stats`` says how the pool stood: ``in_use``, ``idle``, ``max`` and ``waiting``.
    """

    def __init__(self, message: str = "", stats: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.stats = dict(stats or {})


class QueryTimeout(SipupError, TimeoutError):
    """Raised when a statement ran past its timeout and was cancelled by the server."""


class ClientDisconnected(SipupError, ConnectionError):
    """Raised when the client left while a statement ran for it, where ``cancel_on_disconnect`` is on."""


class OutcomeUnknown(SipupError, RuntimeError):
    """Raised when the connection broke during a write or COMMIT: never retry it blindly."""


class TransactionMisuse(SipupError, RuntimeError):
    """Raised when a task uses a transaction that another task opened."""


class RowRefused(SipupError, ValueError):
    """Raised when a record of a bulk write does not fit its table; nothing of the write is kept.

    ``index`` is its place among the records, from 0; ``column`` is None where the server names none.
    """

    def __init__(self, index: int, column: str | None, reason: str) -> None:
        super().__init__(f"record {index}{f', column {column}' if column else ''}: {reason}")
        self.index = index
        self.column = column
        self.reason = reason


class MissingExtra(SipupError, ImportError):
    """Raised when a layer's library is not installed."""

    def __init__(self, extra: str) -> None:
        super().__init__(f"this needs: pip install 'sipup-middleware[{extra}]'")
        self.extra = extra


class PluginNotFound(SipupError, LookupError):
    """Raised when no installed plugin has the requested name."""

    def __init__(self, name: str, installed: list[str]) -> None:
        super().__init__(f"no plugin named {name!r}; installed: {', '.join(installed) or 'none'}")
        self.name = name


OUTAGES = (DatabaseUnavailable, JobsUnavailable, PoolTimeout, QueryTimeout)
"""What a handler may let fly: we answer 503 or 504 in the host's place."""
