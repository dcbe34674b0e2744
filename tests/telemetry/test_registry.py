from __future__ import annotations

from dataclasses import dataclass

import pytest

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.telemetry import BackendRestored, Check, Fact, Reading, Telemetry


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


async def well() -> Reading:
    return Reading()


def test_registering_a_name_again_returns_what_is_registered() -> None:
    telemetry = Telemetry()

    assert telemetry.counter("a.b", x="1", y="2") is telemetry.counter("a.b", y="2", x="1")
    assert telemetry.counter("a.b", x="1") is not telemetry.counter("a.b", x="2")
    assert telemetry.histogram("a.b") is telemetry.histogram("a.b")


def test_series_are_read_by_name_with_their_labels() -> None:
    telemetry = Telemetry()
    telemetry.counter("cache.requests", outcome="hit").add(3)
    telemetry.counter("cache.requests", outcome="miss").add()
    telemetry.counter("cache.purges").add()
    telemetry.histogram("db.acquire", pool="a").record(1)

    assert [(labels, counter.value) for labels, counter in telemetry.counters("cache.requests")] == [
        ({"outcome": "hit"}, 3),
        ({"outcome": "miss"}, 1),
    ]
    assert [(labels, made.count) for labels, made in telemetry.histograms("db.acquire")] == [
        ({"pool": "a"}, 1)
    ]


def test_a_gauge_is_read_now_and_one_that_raises_is_left_out() -> None:
    telemetry = Telemetry()
    telemetry.gauge("db.pool", lambda: 1.0, state="idle")
    telemetry.gauge("db.pool", lambda: 2.0, state="idle")
    telemetry.gauge("db.pool", lambda: 1 / 0, state="in_use")

    assert list(telemetry.gauges("db.pool")) == [({"state": "idle"}, 2.0)]


def test_the_last_check_of_a_name_counts() -> None:
    telemetry = Telemetry()
    again = Check("a:b", well, critical=False)

    telemetry.check(Check("a:b", well))
    telemetry.check(again)

    assert telemetry.checks == {"a:b": again}


@pytest.mark.parametrize(("name", "timeout"), [("", 1.0), ("a", 0.0), ("a", -1.0)])
def test_a_check_without_name_or_time_is_refused(name: str, timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="Check"):
        Check(name, well, timeout=timeout)


def test_an_observer_that_raises_harms_nobody_and_is_told_of_by_type_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Fact] = []

    def broken(fact: Fact) -> None:
        raise KeyError("postgresql://user:secret@host")

    telemetry = Telemetry([broken])
    telemetry.observe(heard.append)

    telemetry.emit(BackendRestored("store"))

    assert heard == [BackendRestored("store")]
    assert caplog.messages == ["an observer of BackendRestored raised KeyError"]


def test_ticks_before_a_window_is_over_change_nothing() -> None:
    clock = Clock()
    telemetry = Telemetry(window=60, clock=clock)
    histogram = telemetry.histogram("http.duration")
    histogram.record(1)

    clock.now += 59

    assert telemetry.tick() == 59
    assert histogram.recent == 1


def test_a_tick_looks_back_over_the_window_before_too() -> None:
    clock = Clock()
    telemetry = Telemetry(window=60, clock=clock)
    histogram = telemetry.histogram("http.duration")
    histogram.record(1)

    clock.now += 70
    assert telemetry.tick() == 70
    assert (histogram.recent, telemetry.due) == (1, clock.now + 60)

    clock.now += 60
    assert telemetry.tick() == 60
    assert histogram.recent == 0


def test_after_a_silence_there_is_nothing_to_look_back_on() -> None:
    clock = Clock()
    telemetry = Telemetry(window=60, clock=clock)
    histogram = telemetry.histogram("http.duration")
    histogram.record(1)

    clock.now += 500

    assert telemetry.tick() == 60
    assert (histogram.recent, histogram.count) == (0, 1)
