from __future__ import annotations

import logging

import pytest

from sipup_middleware.log import log
from sipup_middleware.telemetry import (
    BackendLost,
    BackendRestored,
    ErrorUnhandled,
    Fact,
    RequestRefused,
    ResponsesPurged,
    WarningRaised,
)


@pytest.mark.parametrize(
    ("fact", "level", "line"),
    [
        (
            ErrorUnhandled("KeyError", "/items/{id}", "0" * 32),
            "ERROR",
            f"unhandled KeyError in /items/{{id}} (request {'0' * 32})",
        ),
        (
            BackendLost("store", "ConnectionError"),
            "WARNING",
            "store: its server does not answer (ConnectionError)",
        ),
        (BackendRestored("store"), "WARNING", "store: its server answers again"),
        (WarningRaised("cache", "nothing is stored"), "WARNING", "cache: nothing is stored"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_operator_reads_one_line(
    fact: Fact, level: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    log(fact)

    assert caplog.record_tuples == [("sipup_middleware", getattr(logging, level), line)]


@pytest.mark.parametrize("fact", [RequestRefused("100/minute", "ab12", 3.0), ResponsesPurged(2), Fact()])
def test_what_happens_every_day_is_not_written_down(fact: Fact, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    log(fact)

    assert not caplog.records
