"""Composition: many layers make one layer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from starlette.middleware import Middleware
from starlette.types import ASGIApp

from sipup_middleware import plugin
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.log import log as write_log
from sipup_middleware.telemetry import Telemetry

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade
    from sipup_middleware.jobs.handle import OpenJobs
    from sipup_middleware.jobs.task import Task
    from sipup_middleware.ratelimit.limits import Limits
    from sipup_middleware.settings import Settings
    from sipup_middleware.store.handle import OpenStore

__all__ = ("Layer", "Opens", "Resizes", "Resources", "Stack")


class Layer(Protocol):
    """Turns an app into an app, and registers with *telemetry* what it counts."""

    def __call__(self, app: ASGIApp, *, telemetry: Telemetry | None = None) -> ASGIApp:
        """Wrap *app*."""


@runtime_checkable
class Opens(Protocol):
    """A layer with a resource: opened by the lifespan, or by hand."""

    provides: ClassVar[str]
    """Its attribute in `Resources`."""

    def open(self) -> AbstractAsyncContextManager[Any]:
        """Open the resource; the layers that share the object share what is opened."""


@runtime_checkable
class Resizes(Opens, Protocol):
    """A layer whose resource has a size that a worker may set."""

    def resized(self, connections: int) -> Opens:
        """Return the same layer with so many connections."""


@dataclass(slots=True)
class Resources:
    """What a stack's layers opened, for workers, scripts and tests; None = no such layer."""

    db: Facade | None = None
    store: OpenStore | None = None
    jobs: OpenJobs | None = None
    limiter: Limits | None = None


class Stack:
    """Several layers as one; the first named is the outermost.

    A stack is a layer too, so stacks nest. Starlette's ``Middleware(cls, ...)`` may stand among the layers.
    *plugins* are names of installed plugins; ``log=False`` keeps it from writing to the logger
    ``sipup_middleware``.
    """

    def __init__(
        self, *layers: Layer | Middleware, plugins: Iterable[str | plugin.Plugin] = (), log: bool = True
    ) -> None:
        for layer in layers:
            if isinstance(layer, type) or not (callable(layer) or isinstance(layer, Middleware)):
                raise ConfigurationError(f"Stack takes layers, such as RateLimit(), not {layer!r}")
        self.layers = layers
        self.plugins = tuple(
            plugin.load(each)[0] if isinstance(each, str) else each
            for each in ([plugins] if isinstance(plugins, str) else plugins)
        )
        self.log = log
        self.__name__ = repr(self)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        tasks: Iterable[Task] = (),
        plugins: Iterable[str | plugin.Plugin] = (),
    ) -> Stack:
        """Build the standard order: health, limits, response cache, database, jobs; each unless switched off.

        *tasks* are what can be enqueued; without any there is no `Jobs` layer.
        """
        from sipup_middleware.cache import ResponseCache  # noqa: PLC0415 (only here does the stack know its layers)
        from sipup_middleware.database import Database, PoolConfig  # noqa: PLC0415
        from sipup_middleware.health import Health  # noqa: PLC0415
        from sipup_middleware.ratelimit import RateLimit  # noqa: PLC0415
        from sipup_middleware.store import Store  # noqa: PLC0415

        layers: list[Layer] = []
        if settings.health:
            layers.append(Health(token=settings.health_token))
        if settings.rate_limit:
            layers.append(RateLimit(storage=settings.redis_url or "memory://"))
        if settings.response_cache:
            url = settings.store_url or settings.redis_url or "memory://"
            layers.append(ResponseCache(store=Store(url, runtime_dir=settings.runtime_dir)))
        if settings.database and settings.database_url:
            pool = PoolConfig(budget=settings.budget, workers=settings.workers or "auto")
            layers.append(Database(settings.database_url, pool=pool))
        jobs_url = settings.jobs_url or settings.database_url or settings.redis_url
        if settings.jobs and jobs_url and (given := tuple(tasks)):
            from sipup_middleware.jobs import Jobs  # noqa: PLC0415 (only who has jobs needs their extra)

            layers.append(Jobs(jobs_url, tasks=given))
        return cls(*layers, plugins=plugins)

    def __call__(self, app: ASGIApp, *, telemetry: Telemetry | None = None) -> ASGIApp:
        """Wrap *app*."""
        if telemetry is None:  # a stack within a stack leaves the log to the outer one
            telemetry = Telemetry([write_log] if self.log else ())
        for each in self.plugins:
            telemetry.observe(each.observe)
            telemetry.routes.extend(each.routes(telemetry))
        for layer in reversed(self.layers):
            if isinstance(layer, Middleware):
                app = layer.cls(app, *layer.args, **layer.kwargs)
            else:
                app = layer(app, telemetry=telemetry)
        return app

    @asynccontextmanager
    async def open(self, *, db_connections: int | None = None) -> AsyncIterator[Resources]:
        """Open what the layers hold, outside any request: for workers, scripts and tests.

        *db_connections*: the size of the database's pool here; None = as its layer says.
        """
        resources = Resources()
        async with AsyncExitStack() as opened:
            for layer in self._opening_layers():
                if db_connections is not None and isinstance(layer, Resizes):
                    layer = layer.resized(db_connections)  # noqa: PLW2901 (the same layer, for this opening)
                setattr(resources, layer.provides, await opened.enter_async_context(layer.open()))
            yield resources

    def _opening_layers(self) -> Iterator[Opens]:
        for layer in self.layers:
            if isinstance(layer, Stack):
                yield from layer._opening_layers()  # noqa: SLF001 (another of our own)
            elif isinstance(layer, Opens):
                yield layer

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stack):
            return NotImplemented
        return (self.layers, self.plugins, self.log) == (other.layers, other.plugins, other.log)

    def __hash__(self) -> int:
        return hash((self.layers, self.plugins, self.log))

    def __repr__(self) -> str:
        return f"Stack({', '.join(map(repr, self.layers))})"
