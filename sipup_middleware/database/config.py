"""What a user may say about the database, checked as it is said."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from starlette.types import ASGIApp

from sipup_middleware.bridge import Home
from sipup_middleware.database.backend import dialler
from sipup_middleware.database.facade import Facade
from sipup_middleware.database.meters import Meters
from sipup_middleware.database.middleware import DatabaseMiddleware
from sipup_middleware.database.pool import Pool
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.lifespan import Opening
from sipup_middleware.telemetry import Telemetry
from sipup_middleware.urls import database_of, masked

__all__ = ("Database", "PoolConfig")

_MOST = 50
"""Connections that one process gains from, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """How many connections one process keeps, and how long anyone waits for one."""

    min: int = 5
    """Connections opened at startup and kept, up to the pool's size; 0 where no lifespan is sent."""

    max: int | Literal["auto"] = "auto"
    """Connections of this process at most; "auto" = 50 or its share of the budget, whichever is less."""

    budget: int = 80
    """Connections of the whole deployment, which its workers share; PostgreSQL's default allows 97."""

    workers: int | Literal["auto"] = "auto"
    """Processes that share the budget; "auto" = ``SIPUP_WORKERS``, else ``WEB_CONCURRENCY``, else 1."""

    acquire_timeout: float = 5
    """Seconds until a request that waits for a connection gets `PoolTimeout`."""

    max_waiting: int = 2000
    """Requests that may wait; one more gets `PoolTimeout` at once."""

    health_interval: float = 30
    """Seconds between two rounds that ask the idle connections whether they are there."""

    max_lifetime: float = 1800
    """Seconds until a connection is renewed, less up to a quarter: they must not all go at once."""

    def __post_init__(self) -> None:
        for name, least in (("min", 0), ("max", 1), ("budget", 1), ("workers", 1), ("max_waiting", 0)):
            value = getattr(self, name)
            if value != "auto" and value < least:
                raise ConfigurationError(f"PoolConfig.{name} must be at least {least}, not {value}")
        for name in ("acquire_timeout", "health_interval", "max_lifetime"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(
                    f"PoolConfig.{name} must be above 0 seconds, not {getattr(self, name)}"
                )

    @property
    def size(self) -> int:
        """Connections that this process may open."""
        if self.max != "auto":
            return self.max
        workers = _workers() if self.workers == "auto" else self.workers
        return max(1, min(_MOST, self.budget // workers))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Database:
    """PostgreSQL for every request, by a pool that lends a connection for each statement."""

    url: str = field(kw_only=False)
    """``postgresql://user:password@host:port/database``; everything that libpq's URLs may say."""

    pool: PoolConfig = PoolConfig()
    """How many connections, and how long anyone waits for one."""

    always_reset: bool = False
    """Reset every session when it comes back, not only one that a statement is known to have changed. It
    costs a round trip each time; for apps whose SQL functions change settings inside."""

    provides: ClassVar[str] = "db"

    _opening: Opening[Pool] = field(default_factory=Opening, init=False, compare=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("postgresql://", "postgres://")):
            raise ConfigurationError("Database.url must begin with postgresql:// or postgres://")

    def __call__(self, app: ASGIApp, *, telemetry: Telemetry | None = None) -> ASGIApp:
        """Wrap *app*."""
        meters = Meters(telemetry or Telemetry())
        meters.watch(lambda: self._opening.handle, self._pool)
        return DatabaseMiddleware(
            app, opened=lambda: self._opening.open(self._build), pool_of=self._pool, meters=meters
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Facade]:
        """Open the pool, or share the open one, for scripts and tests; see also `resized`."""
        async with self._opening.open(self._build) as pool:
            yield Facade(lambda: pool, Meters(Telemetry()))

    def resized(self, connections: int) -> Database:
        """Return the same layer with a pool of so many connections: for a worker of background jobs."""
        return replace(self, pool=replace(self.pool, min=min(self.pool.min, connections), max=connections))

    def _pool(self) -> Pool:
        return self._opening.get(self._build)

    def _build(self, home: Home) -> Pool:
        return Pool(
            dialler(self.url),
            self.pool,
            home,
            database=database_of(self.url),
            always_reset=self.always_reset,
        )

    def __repr__(self) -> str:
        return f"Database({masked(self.url)!r}, pool={self.pool!r}, always_reset={self.always_reset})"


def _workers() -> int:
    for name in ("SIPUP_WORKERS", "WEB_CONCURRENCY"):
        if (said := os.environ.get(name, "")).isdecimal() and int(said) > 0:
            return int(said)
    return 1
