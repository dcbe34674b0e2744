from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sipup_middleware.health import system


def test_cpu_is_the_share_of_a_core_since_it_was_last_asked() -> None:
    readings = iter([0.0, 4.0, 5.0])
    times = iter([0.0, 1.0, 1.5])
    cpu = system.CPU(lambda: next(readings), process_time=lambda: next(times))

    assert [cpu.percent(), cpu.percent()] == [25.0, 50.0]


def test_cpu_asked_again_within_a_second_gives_the_same() -> None:
    readings = iter([0.0, 4.0, 4.5])
    times = iter([0.0, 1.0])
    cpu = system.CPU(lambda: next(readings), process_time=lambda: next(times))

    assert [cpu.percent(), cpu.percent()] == [25.0, 25.0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_linux_tells_memory_and_descriptors() -> None:
    memory, before = system.rss_bytes(), system.fds()

    with Path(__file__).open():
        during = system.fds()

    assert memory is not None
    assert before is not None
    assert memory > 1 << 20
    assert during == before + 1


def test_elsewhere_they_are_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system, "_PROC", tmp_path / "nothing")

    assert (system.rss_bytes(), system.fds()) == (None, None)
