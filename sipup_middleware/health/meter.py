"""The shell's numbers: a histogram for each route, method and class of status, and what is in flight."""

from __future__ import annotations

from sipup_middleware.telemetry import Histogram, Telemetry

__all__ = ("OTHER", "OTHER_METHOD", "Meter")

OTHER = "__other__"
"""Every route beyond the first `_MOST`."""

OTHER_METHOD = "_OTHER"
"""Every method that is not HTTP's own; a client may make up any."""

_MOST = 200
_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
_Series = tuple[str, str, int]


class Meter:
    """Counts requests into a bounded number of series."""

    __slots__ = ("_clock", "_series", "_telemetry", "in_flight")

    def __init__(self, telemetry: Telemetry) -> None:
        self.in_flight = 0
        self._series: dict[_Series, Histogram] = {}
        self._telemetry = telemetry
        self._clock = telemetry.clock
        telemetry.gauge("http.in_flight", lambda: self.in_flight)

    def record(self, route: str, method: str, status: int, began: float) -> None:
        """Count one request that *began* then on the telemetry's clock, and ends now."""
        now = self._clock()
        if now >= self._telemetry.due:
            self._telemetry.tick()
        try:
            series = self._series[route, method, status // 100]
        except KeyError:
            series = self._admit(route, method, status // 100)
        series.record(now - began)

    def _admit(self, route: str, method: str, hundreds: int) -> Histogram:
        """Return the series where these count: their own, as long as there is room for it."""
        method = method if method in _METHODS else OTHER_METHOD
        hundreds = hundreds if hundreds in range(1, 6) else 5
        known = {name for name, _, _ in self._series}
        if route not in known and len(known) >= _MOST:
            route = OTHER
        key = route, method, hundreds
        if key not in self._series:
            self._series[key] = self._telemetry.histogram(
                "http.duration", route=route, method=method, status=f"{hundreds}xx"
            )
        return self._series[key]
