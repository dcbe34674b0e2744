"""Where cached things live, said once and checked as it is said."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from sipup_middleware.bridge import Home
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.lifespan import Opening
from sipup_middleware.redis_pool import SCHEMES
from sipup_middleware.store.backend import connect
from sipup_middleware.store.handle import OpenStore
from sipup_middleware.store.memory import Memory
from sipup_middleware.store.report import Report
from sipup_middleware.store.second import SecondTier
from sipup_middleware.store.stamps import Stamps
from sipup_middleware.telemetry import Telemetry, WarningRaised
from sipup_middleware.urls import masked

__all__ = ("Store",)

_MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The in-process tier, and behind it the server that *url* names, if it names one."""

    url: str = field(default="memory://", kw_only=False, repr=False)
    """``memory://``, ``redis://``, ``rediss://``, ``valkey://`` or ``unix:///path?db=0``."""

    max_bytes: int = 256 << 20
    """What the in-process tier may hold, in bytes, in each process."""

    timeout: float = 0.05
    """Seconds that the server has to answer; later is a miss."""

    runtime_dir: str | None = None
    """Directory through which the workers of a host share their purges; None = ``SIPUP_RUNTIME_DIR``. Without
    either, a process knows its own alone, and reads nothing from the server that another stored."""

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
        object.__setattr__(self, "_report", Report(has_server=scheme != _MEMORY))

    def open(self) -> AbstractAsyncContextManager[OpenStore]:
        """Hold the store open: on the running asyncio loop, or from trio on the bridge."""
        return self._opening.open(self._build)

    def handle(self) -> OpenStore:
        """Return the open store; where none is open, one that stays open until the process ends."""
        return self._opening.get(self._build)

    def register(self, telemetry: Telemetry) -> None:
        """Report to *telemetry* whatever is opened, now and later."""
        if self._report.add(telemetry) and self._scheme != _MEMORY and self._directory is None:
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
        return self.runtime_dir or os.environ.get("SIPUP_RUNTIME_DIR") or None

    def _build(self, home: Home) -> OpenStore:
        second = None
        if self._scheme != _MEMORY:
            second = SecondTier(connect(self.url, self.timeout), home, self._report)
        return OpenStore(Memory(self.max_bytes), Stamps(self._directory), second, self._report)

    def __repr__(self) -> str:
        return (
            f"Store({masked(self.url)!r}, max_bytes={self.max_bytes}, timeout={self.timeout}, "
            f"runtime_dir={self.runtime_dir!r})"
        )
