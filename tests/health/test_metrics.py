"""The document's shape is a promise to whoever reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sipup_middleware.health.metrics import document
from sipup_middleware.telemetry import Telemetry


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def measured(**sections: Any) -> dict[str, Any]:
    telemetry = Telemetry(clock=(clock := Clock()), window=60)
    for section in sections.values():
        section(telemetry)
    clock.now = 50
    return document(telemetry, system={"fds": 3})


def test_without_requests_and_layers_there_is_little_to_tell() -> None:
    assert measured() == {
        "schema": 1,
        "window_s": 50,
        "workers": {"seen": 1},
        "http": {
            "requests_total": 0,
            "in_flight": 0,
            "rps": 0.0,
            "latency_ms": {"p50": None, "p95": None, "p99": None, "max": None},
            "routes": [],
        },
        "system": {"fds": 3},
    }


def test_http_tells_each_route_the_busiest_first_and_all_together() -> None:
    def http(telemetry: Telemetry) -> None:
        telemetry.gauge("http.in_flight", lambda: 2)
        for route, status, seconds, times in (
            ("/a", "2xx", 0.5, 1),
            ("/b", "2xx", 0.001, 8),
            ("/b", "5xx", 0.002, 1),
        ):
            series = telemetry.histogram("http.duration", route=route, method="GET", status=status)
            for _ in range(times):
                series.record(seconds)

    http_section = measured(http=http)["http"]

    busiest, other = http_section.pop("routes")
    assert http_section.pop("latency_ms")["max"] == 500
    assert http_section == {"requests_total": 10, "in_flight": 2, "rps": 0.2}
    assert {key: busiest[key] for key in ("route", "method", "count", "status")} == {
        "route": "/b",
        "method": "GET",
        "count": 9,
        "status": {"2xx": 8, "5xx": 1},
    }
    assert [round(busiest[key], 1) for key in ("p50", "p95", "p99")] == [1.0, 2.0, 2.0]
    assert list(other) == ["route", "method", "count", "status", "p50", "p95", "p99"]


def test_rates_look_back_over_the_window_and_totals_do_not() -> None:
    telemetry = Telemetry(clock=(clock := Clock()), window=60)
    telemetry.histogram("http.duration", route="/", method="GET", status="2xx").record(1)

    clock.now = 500
    http_section = document(telemetry, system={})["http"]

    assert (http_section["requests_total"], http_section["rps"]) == (1, 0.0)
    assert http_section["latency_ms"]["p99"] is None


def test_ratelimit() -> None:
    def ratelimit(telemetry: Telemetry) -> None:
        telemetry.counter("ratelimit.decisions", decision="allowed").add(7)
        telemetry.counter("ratelimit.decisions", decision="limited").add(2)
        telemetry.gauge("ratelimit.degraded", lambda: 1)

    assert measured(ratelimit=ratelimit)["ratelimit"] == {
        "allowed_total": 7,
        "limited_total": 2,
        "degraded": True,
    }


def test_cache() -> None:
    def cache(telemetry: Telemetry) -> None:
        for outcome, count in (("hit", 85), ("stale", 5), ("miss", 8), ("revalidated", 2), ("bypass", 40)):
            telemetry.counter("cache.requests", outcome=outcome).add(count)
        telemetry.gauge("cache.entries", lambda: 12)
        telemetry.gauge("cache.bytes", lambda: 4096)

    assert measured(cache=cache)["cache"] == {
        "hits": 85,
        "misses": 10,
        "stale": 5,
        "bypass": 40,
        "hit_rate": 0.9,
        "entries": 12,
        "bytes": 4096,
    }


def test_a_cache_that_was_never_asked_has_no_hit_rate() -> None:
    def cache(telemetry: Telemetry) -> None:
        telemetry.counter("cache.requests", outcome="hit")

    assert measured(cache=cache)["cache"]["hit_rate"] is None


def test_database() -> None:
    def database(telemetry: Telemetry) -> None:
        for state, value in (("max", 50), ("in_use", 3), ("idle", 7), ("waiting", 0)):
            telemetry.gauge("db.pool", lambda value=value: value, state=state)  # type: ignore[misc]  # an int
        telemetry.counter("db.queries", outcome="ok").add(9)
        telemetry.counter("db.queries", outcome="error").add(1)
        telemetry.histogram("db.acquire").record(0.004)

    section = measured(database=database)["db"]

    assert section["pool"] == {"max": 50, "in_use": 3, "idle": 7, "waiting": 0}
    assert section["queries_total"] == 10
    assert {name: round(value) for name, value in section["acquire_ms"].items()} == {"p50": 4, "p95": 4}
