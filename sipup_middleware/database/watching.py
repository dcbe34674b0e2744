"""What is looked at when a statement has ended: whether it was slow, and whether its text is a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sipup_middleware.database.inlined import Inlined
from sipup_middleware.database.slow import SlowQueries
from sipup_middleware.telemetry import Telemetry

if TYPE_CHECKING:
    from sipup_middleware.database.lease import Statement
    from sipup_middleware.database.runner import OnStatement, Runner

__all__ = ("watching",)


def watching(telemetry: Telemetry, slow_query: float | None) -> OnStatement:
    """Return a listener for ``Meters.on_statement``; what is neither slow nor new costs 0.1 us.

    Statements of *slow_query* seconds or more are recorded; None = none are.
    """
    slow = None if slow_query is None else SlowQueries(telemetry, slow_query)
    threshold = float("inf") if slow_query is None else slow_query
    inlined = Inlined(telemetry)
    texts = inlined.texts

    def listen(runner: Runner, statement: Statement, seconds: float, error: Exception | None) -> None:  # noqa: ARG001 (a failure may be slow too)
        if seconds >= threshold and slow is not None:
            slow.record(statement.sql, runner.scope, seconds)
        if statement.sql not in texts:
            inlined.look(statement.sql)

    return listen
