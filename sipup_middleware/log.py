"""The default observer: what an operator should read, on the logger ``sipup_middleware``.

Transitions at WARNING, once each; unhandled errors at ERROR. No bodies, no parameters, no addresses.
"""

from __future__ import annotations

import logging

from sipup_middleware.telemetry import (
    BackendLost,
    BackendRestored,
    BudgetAssumed,
    ConnectionLeaked,
    ErrorUnhandled,
    Fact,
    JobAttemptFailed,
    JobsLost,
    LimitFellBack,
    SlowQuery,
    WarningRaised,
)

__all__ = ("log",)

_LOGGER = logging.getLogger("sipup_middleware")


def log(fact: Fact, /) -> None:  # noqa: C901 (a case a kind of fact)
    """Write *fact* down if it is one that an operator acts on."""
    match fact:
        case ErrorUnhandled(error=error, route=route, request_id=request_id):
            _LOGGER.error("unhandled %s in %s (request %s)", error, route, request_id)
        case BackendLost(layer=layer, reason=reason):
            _LOGGER.warning("%s: its server does not answer (%s)", layer, reason)
        case BackendRestored(layer=layer):
            _LOGGER.warning("%s: its server answers again", layer)
        case BudgetAssumed(layer=layer, connections=connections):
            _LOGGER.info(
                "%s: SIPUP_WORKERS does not say who shares the budget: %d connections here",
                layer,
                connections,
            )
        case ConnectionLeaked(route=route, held_by=held_by, where=where, seconds=seconds):
            _LOGGER.warning(
                "database: a %s of %s has kept a connection for %.0f s; borrowed at %s",
                held_by,
                route,
                seconds,
                " < ".join(where) or "a statement",
            )
        case JobAttemptFailed(type=kind, job=job, attempt=attempt, error=error, retry_after=None):
            _LOGGER.error("job %s %s has failed for good: %s in attempt %d", kind, job, error, attempt)
        case JobAttemptFailed(type=kind, job=job, attempt=attempt, error=error, retry_after=pause):
            _LOGGER.info("job %s %s: %s in attempt %d, next in %.1f s", kind, job, error, attempt, pause)
        case JobsLost(jobs=count, reason=reason):
            _LOGGER.error("jobs: %d of a committed transaction could not be handed over (%s)", count, reason)
        case LimitFellBack(rule=rule, error=error):
            _LOGGER.warning("ratelimit: the rate of %r cannot be told (%s), its default holds", rule, error)
        case SlowQuery(sql=sql, route=route, seconds=seconds, count=count):
            _LOGGER.warning("database: slow, %.1f s in %s, %d so far: %s", seconds, route, count, sql)
        case WarningRaised(layer=layer, message=message):
            _LOGGER.warning("%s: %s", layer, message)
