"""Rare things that happened, in the past tense. None holds a client's identity, a URL or a parameter."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = (
    "BackendLost",
    "BackendRestored",
    "BudgetAssumed",
    "ClientBanned",
    "ConnectionLeaked",
    "ErrorUnhandled",
    "Fact",
    "JobAttemptFailed",
    "JobsLost",
    "LimitFellBack",
    "RequestRefused",
    "ResponsesPurged",
    "SlowQuery",
    "WarningRaised",
)


@dataclass(frozen=True, slots=True)
class Fact:
    """Base of every fact."""


@dataclass(frozen=True, slots=True)
class BackendLost(Fact):
    """A layer began to do without its server; emitted once an outage."""

    layer: str
    reason: str
    """The kind of error, by name; never its message."""


@dataclass(frozen=True, slots=True)
class BackendRestored(Fact):
    """A layer's server answers again; follows `BackendLost`."""

    layer: str


@dataclass(frozen=True, slots=True)
class BudgetAssumed(Fact):
    """Nobody said how many workers share the connections: this process takes them all for its own."""

    layer: str
    connections: int
    """That this process may open."""


@dataclass(frozen=True, slots=True)
class ConnectionLeaked(Fact):
    """A connection has been lent for so long that it may never come back; told once a borrowing."""

    route: str
    """The template of the borrower's route."""

    held_by: str
    """What holds it: ``transaction``, ``connection``, or a statement's method."""

    where: tuple[str, ...]
    """``file:line function`` of the borrower and its callers, the innermost first; empty for a statement."""

    seconds: float


@dataclass(frozen=True, slots=True)
class LimitFellBack(Fact):
    """The function that gives a limit's rate failed: its default holds; emitted once until it works again."""

    rule: str
    error: str
    """The exception's type, by name."""


@dataclass(frozen=True, slots=True)
class ClientBanned(Fact):
    """A client was refused so often that all its requests are, for a while."""

    client: str
    """A keyed hash: tells clients apart within this process, and nothing more."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RequestRefused(Fact):
    """A client went over a limit."""

    rule: str
    client: str
    """A keyed hash: tells clients apart within this process, and nothing more."""

    retry_after: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class ResponsesPurged(Fact):
    """Someone asked for stored things to be forgotten."""

    tags: int
    """How many tags were purged; 0 = everything."""


@dataclass(frozen=True, slots=True)
class ErrorUnhandled(Fact):
    """The app let an exception fly out of a request."""

    error: str
    """The exception's type, by name."""

    route: str
    request_id: str


@dataclass(frozen=True, slots=True)
class JobAttemptFailed(Fact):
    """A job raised, or took too long."""

    type: str
    job: str
    """Its id."""

    attempt: int
    """From 1."""

    error: str
    """The exception's type, by name."""

    retry_after: float | None
    """Seconds until the next attempt; None = it has failed for good."""


@dataclass(frozen=True, slots=True)
class JobsLost(Fact):
    """Jobs whose transaction was committed could not be handed over after it."""

    jobs: int
    reason: str
    """The kind of error, by name."""


@dataclass(frozen=True, slots=True)
class SlowQuery(Fact):
    """A statement took longer than ``slow_query``; told of each statement and route once a minute at most."""

    sql: str
    """Normalised: ``?`` stands for every literal."""

    route: str
    """The template of the route that ran it."""

    seconds: float
    count: int
    """How often it was slow so far."""


@dataclass(frozen=True, slots=True)
class WarningRaised(Fact):
    """Something is set up in a way that will hurt; emitted once."""

    layer: str
    message: str
