"""The document's shape is a promise to whoever reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from sipup_middleware.health import Health
from sipup_middleware.health.metrics import document
from sipup_middleware.telemetry import Report, Telemetry
from tests.asgi import get, hello


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
        "banned_total": 0,
        "denied_total": 0,
        "shadowed_total": 0,
        "shed_total": 0,
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


def test_a_section_that_a_server_told_stands_beside_those_that_were_counted() -> None:
    jobs = {"workers": 2, "dead": 0}

    shown = document(Telemetry(), system={}, reports={"jobs": jobs, "other": None})

    assert (shown["jobs"], shown["other"]) == (jobs, None)
    assert list(shown) == ["schema", "window_s", "workers", "http", "jobs", "other", "system"]


async def told(reports: dict[str, Report]) -> Any:
    """Ask the page for what *reports* tell."""
    telemetry = Telemetry()
    for section, report in reports.items():
        telemetry.report(section, report)
    app = Health()(hello, telemetry=telemetry)
    return (await get(app, "/_health/metrics", client="127.0.0.1")).json()


async def test_every_server_is_asked_for_its_section_at_once() -> None:
    asked: list[str] = []
    both = anyio.Event()

    def server(name: str) -> Report:
        async def report() -> dict[str, Any]:
            asked.append(name)
            if len(asked) == 2:
                both.set()
            await both.wait()
            return {"name": name}

        return report

    shown = await told({"a": server("a"), "b": server("b")})

    assert (shown["a"], shown["b"]) == ({"name": "a"}, {"name": "b"})


async def test_a_server_that_does_not_tell_has_a_section_of_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipup_middleware.health.app._PATIENCE", 0.05)

    async def hangs() -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    async def fails() -> dict[str, Any]:
        raise OSError("at host q-7")

    async def tells() -> dict[str, Any]:
        return {"workers": 1}

    with anyio.fail_after(5):
        shown = await told({"hangs": hangs, "fails": fails, "tells": tells})

    assert (shown["hangs"], shown["fails"], shown["tells"]) == (None, None, {"workers": 1})


async def test_of_two_reports_of_one_section_the_last_is_asked() -> None:
    telemetry = Telemetry()

    async def first() -> dict[str, Any]:
        return {"number": 1}

    async def second() -> dict[str, Any]:
        return {"number": 2}

    telemetry.report("jobs", first)
    telemetry.report("jobs", second)

    assert await telemetry.reports["jobs"]() == {"number": 2}


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
