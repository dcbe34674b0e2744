"""Composable pure-ASGI middleware for any Python web app.

A *layer* is anything you can call with an ASGI app to get an ASGI app. Describe the layers you want, stack
them and wrap your app; the first is the outermost::

    from sipup_middleware import Health, RateLimit, ResponseCache, Stack

    stack = Stack(Health(), RateLimit(), ResponseCache())
    application = stack(app)

What stands here is the front door. A layer is imported when it is first named, so that a missing extra speaks
only where it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sipup_middleware.errors import (
    BackendUnavailable,
    ClientDisconnected,
    ConfigurationError,
    DatabaseUnavailable,
    JobFailed,
    JobsUnavailable,
    MissingExtra,
    OutcomeUnknown,
    PluginNotFound,
    PoolTimeout,
    QueryTimeout,
    RowRefused,
    SipupError,
    StoreUnavailable,
    TransactionMisuse,
)
from sipup_middleware.plugin import Plugin
from sipup_middleware.settings import Settings
from sipup_middleware.stack import Layer, Stack

if TYPE_CHECKING:
    from sipup_middleware.cache import ResponseCache, Rule
    from sipup_middleware.client_ip import ClientIP
    from sipup_middleware.database import Database, PoolConfig
    from sipup_middleware.health import Check, Health
    from sipup_middleware.jobs import Jobs, Task, job
    from sipup_middleware.ratelimit import Limit, RateLimit, by_header, by_ip, by_user
    from sipup_middleware.store import Store

__all__ = (
    "BackendUnavailable",
    "Check",
    "ClientDisconnected",
    "ClientIP",
    "ConfigurationError",
    "Database",
    "DatabaseUnavailable",
    "Health",
    "JobFailed",
    "Jobs",
    "JobsUnavailable",
    "Layer",
    "Limit",
    "MissingExtra",
    "OutcomeUnknown",
    "Plugin",
    "PluginNotFound",
    "PoolConfig",
    "PoolTimeout",
    "QueryTimeout",
    "RateLimit",
    "ResponseCache",
    "RowRefused",
    "Rule",
    "Settings",
    "SipupError",
    "Stack",
    "Store",
    "StoreUnavailable",
    "Task",
    "TransactionMisuse",
    "by_header",
    "by_ip",
    "by_user",
    "job",
)

_HOME = {
    "Check": "health",
    "ClientIP": "client_ip",
    "Database": "database",
    "Health": "health",
    "Jobs": "jobs",
    "Limit": "ratelimit",
    "PoolConfig": "database",
    "RateLimit": "ratelimit",
    "ResponseCache": "cache",
    "Rule": "cache",
    "Store": "store",
    "Task": "jobs",
    "by_header": "ratelimit",
    "by_ip": "ratelimit",
    "by_user": "ratelimit",
    "job": "jobs",
}


def __getattr__(name: str) -> object:
    """Import a layer when it is first named (PEP 562)."""
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
