from __future__ import annotations

import logging

import pytest

from sipup_middleware.log import log
from sipup_middleware.telemetry import (
    BackendLost,
    BackendRestored,
    BudgetAssumed,
    ConnectionLeaked,
    ErrorUnhandled,
    Fact,
    JobAttemptFailed,
    JobsLost,
    RequestRefused,
    ResponsesPurged,
    SlowQuery,
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
        (
            BudgetAssumed("database", 50),
            "INFO",
            "database: SIPUP_WORKERS does not say who shares the budget: 50 connections here",
        ),
        (
            ConnectionLeaked("/orders/{id}", "transaction", ("shop.py:7 pay", "app.py:3 main"), 61.2),
            "WARNING",
            (
                "database: a transaction of /orders/{id} has kept a connection for 61 s; borrowed at"
                " shop.py:7 pay < app.py:3 main"
            ),
        ),
        (
            JobAttemptFailed("invoice.sync", "k1", 4, "ValueError", None),
            "ERROR",
            "job invoice.sync k1 has failed for good: ValueError in attempt 4",
        ),
        (
            JobAttemptFailed("invoice.sync", "k1", 1, "ValueError", 2.04),
            "INFO",
            "job invoice.sync k1: ValueError in attempt 1, next in 2.0 s",
        ),
        (
            JobsLost(2, "ConnectionError"),
            "ERROR",
            "jobs: 2 of a committed transaction could not be handed over (ConnectionError)",
        ),
        (
            SlowQuery("SELECT ?", "/items/{id}", 2.34, 3),
            "WARNING",
            "database: slow, 2.3 s in /items/{id}, 3 so far: SELECT ?",
        ),
        (WarningRaised("cache", "nothing is stored"), "WARNING", "cache: nothing is stored"),
    ],
    ids=lambda value: value if value in {"ERROR", "WARNING", "INFO"} else type(value).__name__,
)
def test_an_operator_reads_one_line(
    fact: Fact, level: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    log(fact)

    assert caplog.record_tuples == [("sipup_middleware", getattr(logging, level), line)]


@pytest.mark.parametrize("fact", [RequestRefused("100/minute", "ab12", 3.0), ResponsesPurged(2), Fact()])
def test_what_happens_every_day_is_not_written_down(fact: Fact, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    log(fact)

    assert not caplog.records
