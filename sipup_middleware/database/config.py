"""What a user may say about the database, checked as it is said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Literal, get_args

from starlette.types import ASGIApp

from sipup_middleware.bridge import Home
from sipup_middleware.database.backend import dialler
from sipup_middleware.database.budget import MOST, told_workers
from sipup_middleware.database.facade import Facade
from sipup_middleware.database.meters import Meters
from sipup_middleware.database.middleware import DatabaseMiddleware
from sipup_middleware.database.pool import Pool
from sipup_middleware.database.replicas import Replicas
from sipup_middleware.database.watching import watching
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.lifespan import Opening
from sipup_middleware.telemetry import Telemetry
from sipup_middleware.urls import database_of, masked

__all__ = ("Database", "PoolConfig")

_Pooler = Literal["transaction"]
_Reads = Literal["primary", "replica"]


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

    reserved: int = 0
    """Connections that this process opens beside the pool; "auto" takes them off its share."""

    acquire_timeout: float = 5
    """Seconds until who waits for a connection gets `PoolTimeout`; at once, if it would be longer."""

    max_waiting: int = 2000
    """Requests that may wait; one more gets `PoolTimeout` at once."""

    health_interval: float = 30
    """Seconds between two rounds that ask the idle connections whether they are there."""

    max_lifetime: float = 1800
    """Seconds until a connection is renewed, less up to a quarter: they must not all go at once."""

    leak_after: float | None = 60
    """Seconds of being lent after which a connection is reported, once, with its borrower; None = never."""

    def __post_init__(self) -> None:
        for name, least in (
            ("min", 0),
            ("max", 1),
            ("budget", 1),
            ("workers", 1),
            ("reserved", 0),
            ("max_waiting", 0),
        ):
            value = getattr(self, name)
            if value != "auto" and value < least:
                raise ConfigurationError(f"PoolConfig.{name} must be at least {least}, not {value}")
        for name in ("acquire_timeout", "health_interval", "max_lifetime", "leak_after"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigurationError(f"PoolConfig.{name} must be above 0 seconds, not {value}")

    @property
    def size(self) -> int:
        """Connections that this process may open."""
        if self.max != "auto":
            return self.max
        return max(1, min(MOST, self.budget // (self.known_workers or 1) - self.reserved))

    @property
    def known_workers(self) -> int | None:
        """Processes that share the budget; None where nobody says."""
        return told_workers() if self.workers == "auto" else self.workers


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Database:
    """PostgreSQL for every request, by a pool that lends a connection for each statement."""

    url: str = field(kw_only=False)
    """``postgresql://user:password@host:port/database``; everything that libpq's URLs may say."""

    pool: PoolConfig = PoolConfig()
    """How many connections, and how long anyone waits for one."""

    replicas: Sequence[str] = field(default=())
    """URLs of hot standbys, each with a pool of its own: plain reads outside transactions may go there."""

    reads: _Reads = "primary"
    """Where such reads go unless they say ``replica=``: "primary" or "replica"."""

    max_lag: float = 5
    """Seconds that a replica may be behind; one that is further is left out until it has caught up."""

    pooler: _Pooler | None = None
    """What the URL leads to: "transaction" = PgBouncer or its like, in that mode. Statements are then not
    prepared by name, and a statement that sets something for the session is refused."""

    slow_query: float | None = 1.0
    """Seconds from which on a statement is recorded as slow, without its values; None = none is."""

    always_reset: bool = False
    """Reset every session when it comes back, not only one that a statement is known to have changed. It
    costs a round trip each time; for apps whose SQL functions change settings inside."""

    deadline: float | None = None
    """Seconds that all statements of a request have together, from its arrival on, the waits for connections
    included; `Facade.deadline` sets another. None = no end."""

    cancel_on_disconnect: bool = False
    """Cancel what runs for a client that has left, once it has run for 50 ms: a write too."""

    provides: ClassVar[str] = "db"

    _opening: Opening[Pool] = field(default_factory=Opening, init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "replicas", tuple(self.replicas))
        for name, urls in (("url", (self.url,)), ("replicas", self.replicas)):
            if not all(url.startswith(("postgresql://", "postgres://")) for url in urls):
                raise ConfigurationError(f"Database.{name} must begin with postgresql:// or postgres://")
        if self.reads not in get_args(_Reads):
            raise ConfigurationError(f"Database.reads must be primary or replica, not {self.reads!r}")
        if self.pooler not in (None, *get_args(_Pooler)):
            raise ConfigurationError(f"Database.pooler must be transaction or None, not {self.pooler!r}")
        if self.deadline is not None and self.deadline <= 0:
            raise ConfigurationError(f"Database.deadline must be above 0 seconds, not {self.deadline}")
        if self.max_lag <= 0:
            raise ConfigurationError(f"Database.max_lag must be above 0 seconds, not {self.max_lag}")
        if self.slow_query is not None and self.slow_query <= 0:
            raise ConfigurationError(f"Database.slow_query must be above 0 seconds, not {self.slow_query}")

    def __call__(self, app: ASGIApp, *, telemetry: Telemetry | None = None) -> ASGIApp:
        """Wrap *app*."""
        telemetry = telemetry or Telemetry()
        meters = Meters(telemetry)
        meters.watch(lambda: self._opening.handle, self._pool)
        meters.on_statement.append(watching(telemetry, self.slow_query))
        if self.replicas:
            meters.watch_replicas(self._pool)
        return DatabaseMiddleware(
            app,
            opened=lambda: self._opening.open(self._build),
            pool_of=self._pool,
            meters=meters,
            deadline=self.deadline,
            cancel_on_disconnect=self.cancel_on_disconnect,
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
        primary = self._pool_to(self.url, "database", home)
        if self.replicas:
            standbys = [
                self._pool_to(url, f"database replica {number}", home)
                for number, url in enumerate(self.replicas, 1)
            ]
            primary.replicas = Replicas(
                primary, standbys, max_lag=self.max_lag, by_default=self.reads == "replica"
            )
        return primary

    def _pool_to(self, url: str, name: str, home: Home) -> Pool:
        return Pool(
            dialler(url, pooler=self.pooler is not None),
            self.pool,
            home,
            name=name,
            database=database_of(url),
            always_reset=self.always_reset,
            pooled=self.pooler is not None,
            measured=self.pooler is None,
        )

    def __repr__(self) -> str:
        shown = {"pool": self.pool, "replicas": tuple(map(masked, self.replicas))}
        named = (each.name for each in fields(self) if each.init and each.name not in {"url", *shown})
        shown |= {name: getattr(self, name) for name in named}
        told = (f"{name}={value!r}" for name, value in shown.items())
        return f"Database({masked(self.url)!r}, {', '.join(told)})"
