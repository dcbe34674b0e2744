"""One `Telemetry` a wrapped app: everything that its layers count, under names."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from time import perf_counter
from typing import Any

from starlette.routing import BaseRoute

from sipup_middleware.telemetry.checks import Check
from sipup_middleware.telemetry.facts import Fact
from sipup_middleware.telemetry.metrics import Counter, Histogram

__all__ = ("Labels", "Observer", "Report", "Telemetry")

Labels = tuple[tuple[str, str], ...]
Observer = Callable[[Fact], None]
Report = Callable[[], Awaitable[dict[str, Any]]]
"""Gives a section of the metrics that only a server knows; must end when it is cancelled."""

_Key = tuple[str, Labels]
_LOGGER = logging.getLogger("sipup_middleware")


class Telemetry:
    """Where layers register their numbers and tell their facts.

    Registering a name again returns what is registered. Names are ``layer.subject``; labels tell apart a
    bounded number of series and never hold what a client sent.
    """

    def __init__(
        self,
        observers: Iterable[Observer] = (),
        *,
        window: float = 60.0,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.window = window
        """Seconds; histograms look back over one to two of them."""
        self.clock = clock
        """Seconds that never run backwards: what every duration here is measured by."""
        self.started = clock()
        """When the app was wrapped, on `clock`."""
        self.due = self.started + window
        """When the present window is over, on `clock`: whoever counts time calls `tick` then."""
        self.checks: dict[str, Check] = {}
        self.reports: dict[str, Report] = {}
        self.routes: list[BaseRoute] = []
        """What plugins add to the health sub-app."""
        self._window_began = self.started
        self._covered_since = self.started
        self._observers = list(observers)
        self._counters: dict[_Key, Counter] = {}
        self._gauges: dict[_Key, Callable[[], float]] = {}
        self._histograms: dict[_Key, Histogram] = {}

    def counter(self, name: str, **labels: str) -> Counter:
        """Return the counter *name* with these labels."""
        key = name, tuple(sorted(labels.items()))
        return self._counters.setdefault(key, Counter())

    def histogram(self, name: str, **labels: str) -> Histogram:
        """Return the histogram of seconds *name* with these labels."""
        key = name, tuple(sorted(labels.items()))
        return self._histograms.setdefault(key, Histogram())

    def gauge(self, name: str, read: Callable[[], float], **labels: str) -> None:
        """Register *read*, which must not block, as the present value of *name*; the last given counts."""
        self._gauges[name, tuple(sorted(labels.items()))] = read

    def check(self, check: Check) -> None:
        """Make readiness ask *check* too; the last of a name counts."""
        self.checks[check.name] = check

    def report(self, section: str, read: Report) -> None:
        """Make the metrics ask *read* for *section* too; the last of a name counts."""
        self.reports[section] = read

    def observe(self, observer: Observer) -> None:
        """Tell *observer* of every fact from now on."""
        self._observers.append(observer)

    def emit(self, fact: Fact) -> None:
        """Tell every observer of *fact*, on the host's thread. An observer that raises harms nobody else."""
        for observe in self._observers:
            try:
                observe(fact)
            except Exception as error:  # noqa: BLE001 (a plugin's bug must not fail the request)
                _LOGGER.error("an observer of %s raised %s", type(fact).__name__, type(error).__name__)  # noqa: TRY400 (a traceback may hold a URL)

    def counters(self, name: str) -> Iterator[tuple[dict[str, str], Counter]]:
        """Yield each series of the counter *name* with its labels."""
        return ((dict(labels), made) for (known, labels), made in self._counters.items() if known == name)

    def histograms(self, name: str) -> Iterator[tuple[dict[str, str], Histogram]]:
        """Yield each series of the histogram *name* with its labels."""
        return ((dict(labels), made) for (known, labels), made in self._histograms.items() if known == name)

    def gauges(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Yield each series of the gauge *name*, read now, with its labels; none for a read that raises."""
        for (known, labels), read in self._gauges.items():
            if known == name:
                with suppress(Exception):
                    yield dict(labels), read()

    def tick(self) -> float:
        """Begin a new window of every histogram when one is over; return the seconds they look back over."""
        now = self.clock()
        if now >= self.due:
            silent = now >= self.due + self.window  # nobody counted for a whole window
            for histogram in self._histograms.values():
                histogram.rotate()
                if silent:
                    histogram.rotate()
            self._covered_since = now - self.window if silent else self._window_began
            self._window_began = now
            self.due = now + self.window
        return now - self._covered_since
