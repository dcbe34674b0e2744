"""What a store tells about itself, to every wrapped app that uses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from sipup_middleware.telemetry import Check, Fact, Reading, Telemetry

__all__ = ("Report",)

_GAUGES = {"cache.entries": "entries", "cache.bytes": "bytes", "store.degraded": "degraded"}
_LINKED = {"store.link": "link", "store.replayed": "replayed"}


class Report:
    """Outlives the handles of its store, so that an app registers once however often the store is opened.

    Part of a frozen `Store`, yet not of its value: a pickled or copied store reports to nobody.
    """

    def __init__(self, *, has_server: bool = False, is_linked: bool = False) -> None:
        self.stats: Callable[[], dict[str, int]] = dict
        """The open handle's."""
        self.ping: Callable[[], Awaitable[Reading]] = _not_open
        """The open handle's."""
        self._has_server = has_server
        self._is_linked = is_linked
        self._telemetries: list[Telemetry] = []

    def __reduce__(self) -> tuple[Callable[[], Report], tuple[()]]:
        return partial(Report, has_server=self._has_server, is_linked=self._is_linked), ()

    def add(self, telemetry: Telemetry) -> bool:
        """Report to *telemetry* from now on; False = it was registered before."""
        if any(telemetry is known for known in self._telemetries):
            return False
        self._telemetries.append(telemetry)
        for gauge, name in (_GAUGES | _LINKED if self._is_linked else _GAUGES).items():
            telemetry.gauge(gauge, partial(self._read, name))
        if self._has_server:
            telemetry.check(Check("store:ping", self._ping, critical=False))
        return True

    def emit(self, fact: Fact) -> None:
        """Tell every app."""
        for telemetry in self._telemetries:
            telemetry.emit(fact)

    def count(self, name: str, **labels: str) -> None:
        """Count a rare thing in every app."""
        for telemetry in self._telemetries:
            telemetry.counter(name, **labels).add()

    def forget(self, stats: Callable[[], dict[str, int]]) -> None:
        """Do without the handle of these *stats*, which is closing; one opened since stays."""
        if self.stats == stats:
            self.stats, self.ping = dict, _not_open

    def _read(self, name: str) -> float:
        return self.stats().get(name, 0)

    async def _ping(self) -> Reading:
        return await self.ping()


async def _not_open() -> Reading:
    return Reading(status="warn", output="the store is not open")
