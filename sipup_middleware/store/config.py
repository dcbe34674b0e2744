"""Where cached things live, said once and checked as it is said."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from sipup_middleware.bridge import Home
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.lifespan import Opening
from sipup_middleware.store.backend import SCHEMES, connect
from sipup_middleware.store.cached import Cached
from sipup_middleware.store.directory import place_of
from sipup_middleware.store.handle import OpenStore
from sipup_middleware.store.linking import LINKED, connect_link, link_name
from sipup_middleware.store.memory import Memory
from sipup_middleware.store.report import Report
from sipup_middleware.store.second import SecondTier
from sipup_middleware.store.stamps import Stamps
from sipup_middleware.store.values import Terms
from sipup_middleware.telemetry import Telemetry, WarningRaised
from sipup_middleware.urls import masked

__all__ = ("Store",)

_MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The in-process tier, and behind it the server or the directory that *url* names, if it names one."""

    url: str = field(default="memory://", kw_only=False, repr=False)
    """``memory://``; a server: ``redis://``, ``rediss://``, ``valkey://``, ``unix:///path?db=0``,
    ``memcached://host``; a directory: ``file://./cache``, ``file:///var/cache/app?max_bytes=1g``."""

    max_bytes: int = 256 << 20
    """What the in-process tier may hold, in bytes, in each process."""

    timeout: float = 0.05
    """Seconds that the server or the disk has to answer; later is a miss."""

    runtime_dir: str | None = None
    """Directory through which the workers of a host share their purges; None = ``SIPUP_RUNTIME_DIR``, else
    that of a ``file://`` *url*. Without any, a process is a host of its own: over Redis or Valkey the purges
    of the others reach it within a second, else it reads nothing from the server that another stored."""

    _opening: Opening[OpenStore] = field(default_factory=Opening, init=False, repr=False, compare=False)
    _report: Report = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        scheme = self._scheme
        if scheme not in {_MEMORY, *SCHEMES}:
            known = ", ".join(f"{each}://" for each in (_MEMORY, *SCHEMES))
            raise ConfigurationError(f"Store.url has an unknown scheme; known: {known}")
        if self.max_bytes < 1:
            raise ConfigurationError(f"Store.max_bytes must be at least 1, not {self.max_bytes}")
        if not self.timeout > 0:
            raise ConfigurationError(f"Store.timeout must be above 0 seconds, not {self.timeout}")
        if scheme != _MEMORY:
            connect(self.url, self.timeout)  # inert: a missing extra or an unreadable URL speaks now
        report = Report(has_server=scheme != _MEMORY, is_linked=self._is_linked)
        object.__setattr__(self, "_report", report)

    def open(self) -> AbstractAsyncContextManager[OpenStore]:
        """Hold the store open: on the running asyncio loop, or from trio on the bridge."""
        return self._opening.open(self._build)

    def handle(self) -> OpenStore:
        """Return the open store; where none is open, one that stays open until the process ends."""
        return self._opening.get(self._build)

    def cached(
        self, *, ttl: float, key: str, tags: Sequence[str] = (), stale: float = 0.0, early: float = 0.0
    ) -> Cached:
        """Decorate an async function: what it returns is kept as `OpenStore.get_or_set` keeps values.

        ``{name}`` in *key* and *tags* is filled from the argument of that name, a str, int, bool, UUID or
        None; the arguments that *key* does not name make no difference. Two functions with the same *key*
        share their values. Served by the open store, whichever it is when the function is called.
        """
        return Cached(self.handle, key=key, tags=tags, terms=Terms(ttl, stale, early))

    def register(self, telemetry: Telemetry) -> None:
        """Report to *telemetry* whatever is opened, now and later."""
        is_alone = self._scheme != _MEMORY and not self._is_linked and self._directory is None
        if self._report.add(telemetry) and is_alone:
            telemetry.emit(
                WarningRaised(
                    "store", "without SIPUP_RUNTIME_DIR each process uses the second tier for itself"
                )
            )

    @property
    def _scheme(self) -> str:
        return self.url.partition("://")[0] if "://" in self.url else ""

    @property
    def _directory(self) -> str | None:
        shared = self.runtime_dir or os.environ.get("SIPUP_RUNTIME_DIR")
        return shared or (str(place_of(self.url)[0]) if self._scheme == "file" else None)

    @property
    def _is_linked(self) -> bool:
        """Whether hosts share their purges."""
        return self._scheme in LINKED

    def _build(self, home: Home) -> OpenStore:
        second = link = None
        if self._scheme != _MEMORY:
            second = SecondTier(connect(self.url, self.timeout), home, self._report)
        stamps = Stamps(
            self._directory,
            link=link_name(self.url) if self._is_linked else "",
            parents=self._scheme == "file",
        )
        if self._is_linked:
            link = connect_link(self.url, self.timeout, home, stamps, self._report)
        return OpenStore(Memory(self.max_bytes), stamps, second, self._report, link=link)

    def __repr__(self) -> str:
        return (
            f"Store({masked(self.url)!r}, max_bytes={self.max_bytes}, timeout={self.timeout}, "
            f"runtime_dir={self.runtime_dir!r})"
        )
