from __future__ import annotations

from dataclasses import dataclass

from sipup_middleware.health.meter import OTHER, OTHER_METHOD, Meter
from sipup_middleware.telemetry import Telemetry


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def series(telemetry: Telemetry) -> dict[tuple[str, str, str], int]:
    return {
        (labels["route"], labels["method"], labels["status"]): made.count
        for labels, made in telemetry.histograms("http.duration")
    }


def test_a_request_counts_by_route_method_and_class_of_status() -> None:
    telemetry = Telemetry()
    meter = Meter(telemetry)

    for status in (200, 204, 304, 404):
        meter.record("/a", "GET", status, 0.0)

    assert series(telemetry) == {("/a", "GET", "2xx"): 2, ("/a", "GET", "3xx"): 1, ("/a", "GET", "4xx"): 1}


def test_its_duration_is_measured_by_the_telemetry_s_clock() -> None:
    clock = Clock()
    telemetry = Telemetry(clock=clock)
    meter = Meter(telemetry)

    clock.now = 2.5
    meter.record("/a", "GET", 200, 1.0)

    assert [made.total for _, made in telemetry.histograms("http.duration")] == [1.5]


def test_routes_beyond_the_two_hundredth_share_one_name() -> None:
    telemetry = Telemetry()
    meter = Meter(telemetry)

    for number in range(1000):
        meter.record(f"/{number}", "GET", 200, 0.0)
    meter.record("/0", "POST", 200, 0.0)

    routes = {route for route, _, _ in series(telemetry)}
    assert len(routes) == 201
    assert series(telemetry)[OTHER, "GET", "2xx"] == 800
    assert series(telemetry)["/0", "POST", "2xx"] == 1


def test_methods_and_statuses_that_someone_made_up_are_bounded_too() -> None:
    telemetry = Telemetry()
    meter = Meter(telemetry)

    for number in range(50):
        meter.record("/", f"METHOD{number}", 200, 0.0)
    meter.record("/", "GET", 999, 0.0)

    assert series(telemetry) == {("/", OTHER_METHOD, "2xx"): 50, ("/", "GET", "5xx"): 1}


def test_counting_begins_a_new_window_when_one_is_over() -> None:
    clock = Clock()
    telemetry = Telemetry(clock=clock, window=60)
    meter = Meter(telemetry)
    meter.record("/", "GET", 200, 0.0)

    for clock.now in (61.0, 122.0):
        meter.record("/", "GET", 200, clock.now)

    assert [made.recent for _, made in telemetry.histograms("http.duration")] == [2]
