"""What the layers count and report, read by health, logs and plugins.

Counts are pulled: a layer registers its numbers once and adds to them in the request path::

    refused = telemetry.counter("ratelimit.decisions", decision="refused")
    refused.add()

Facts are pushed: rare things, in the past tense, told to every observer::

    telemetry.emit(BackendLost("store", "ConnectionError"))

==================  =====================================================
``registry``        `Telemetry`: one a wrapped app; what is registered by name
``metrics``         `Counter`, `Histogram`, and how they are kept
``checks``          `Check`: what readiness asks, and `Reading`: the answer
``facts``           what may be emitted
``routes``          a request's route template, read from the scope after the call
==================  =====================================================
"""

from sipup_middleware.telemetry.checks import Check, Reading
from sipup_middleware.telemetry.facts import (
    BackendLost,
    BackendRestored,
    BudgetAssumed,
    ClientBanned,
    ConnectionLeaked,
    ErrorUnhandled,
    Fact,
    JobAttemptFailed,
    JobsLost,
    LimitFellBack,
    RequestRefused,
    ResponsesPurged,
    SlowQuery,
    WarningRaised,
)
from sipup_middleware.telemetry.metrics import Counter, Histogram
from sipup_middleware.telemetry.registry import Observer, Report, Telemetry

__all__ = (
    "BackendLost",
    "BackendRestored",
    "BudgetAssumed",
    "Check",
    "ClientBanned",
    "ConnectionLeaked",
    "Counter",
    "ErrorUnhandled",
    "Fact",
    "Histogram",
    "JobAttemptFailed",
    "JobsLost",
    "LimitFellBack",
    "Observer",
    "Reading",
    "Report",
    "RequestRefused",
    "ResponsesPurged",
    "SlowQuery",
    "Telemetry",
    "WarningRaised",
)
