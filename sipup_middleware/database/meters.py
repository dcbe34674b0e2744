"""What one wrapping of the database layer counts, and how readiness asks; for the host's thread only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from sipup_middleware.database.pool import Pool
from sipup_middleware.database.tally import EVENTS, Tally
from sipup_middleware.telemetry import BackendLost, BackendRestored, Check, Reading, Telemetry

if TYPE_CHECKING:
    from sipup_middleware.database.runner import OnStatement

__all__ = ("Meters",)

_SIGN_OF_LIFE = 1.0
"""Seconds: where every connection is lent, one that came back this recently shows that the server answers."""

_STATES = ("max", "in_use", "idle", "waiting")


class Meters:
    """Counters, histograms, gauges, checks and facts of one wrapped app."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.acquire = telemetry.histogram("db.acquire")
        self.query = telemetry.histogram("db.query")
        self.hold = telemetry.histogram("db.hold")
        """How long transactions and `Facade.connection` keep one; a statement does as long as it runs."""
        self.ok = telemetry.counter("db.queries", outcome="ok")
        self.error = telemetry.counter("db.queries", outcome="error")
        self.committed = telemetry.counter("db.transactions", outcome="committed")
        self.rolled_back = telemetry.counter("db.transactions", outcome="rolled_back")
        self.pool_timeouts = telemetry.counter("db.pool_timeouts")
        self._events = {event: telemetry.counter("db.pool_events", event=event) for event in EVENTS}
        self.on_statement: list[OnStatement] = []
        """Who is told of each statement; see `OnStatement`."""
        self._telemetry = telemetry
        self._lost = False
        self._tally: Tally | None = None
        self._seen = dict.fromkeys(EVENTS, 0)
        self._changes = self._told = 0

    def watch(self, opened: Callable[[], Pool | None], pool_of: Callable[[], Pool]) -> None:
        """Register gauges over the pool that *opened* returns, and checks that open one by *pool_of*."""
        for state in _STATES:
            self._telemetry.gauge("db.pool", partial(_gauge, opened, state), state=state)

        async def ping() -> Reading:
            pool = pool_of()
            try:
                took = await pool.home.call(_ping, pool)
            finally:
                self.look(pool)
            return Reading(round(took * 1e3, 3), "ms")

        async def room() -> Reading:
            stats = pool_of().stats()
            full = stats["waiting"] > 0 and stats["in_use"] >= stats["max"]
            return Reading(
                stats, None, "warn" if full else "pass", "every connection is lent" if full else ""
            )

        self._telemetry.check(Check("postgres:ping", ping))
        self._telemetry.check(Check("postgres:pool", room, critical=False))

    def watch_replicas(self, pool_of: Callable[[], Pool]) -> None:
        """Register a check that warns while a replica is left out."""

        async def replicas() -> Reading:
            known = pool_of().replicas
            standbys = known.standbys if known is not None else []
            lags = {each.pool.name: round(each.lag, 3) for each in standbys}
            out = [each.pool.name for each in standbys if each.reason is not None]
            return Reading(lags, "s", "warn" if out else "pass", f"left out: {', '.join(out)}" if out else "")

        self._telemetry.check(Check("postgres:replicas", replicas, critical=False))

    def look(self, pool: Pool) -> None:
        """Count what happened to the connections; tell once that the server was lost, and that it is back."""
        tally = pool.tally
        if tally is not self._tally or tally.changes != self._changes:
            self._catch_up(tally)
        if (pool.outage is not None) is self._lost:
            return
        reason = pool.outage
        self._lost = reason is not None
        self._telemetry.emit(
            BackendRestored("database") if reason is None else BackendLost("database", reason)
        )

    def _catch_up(self, tally: Tally) -> None:
        """Add what is new in *tally*, which another thread may be counting on."""
        if tally is not self._tally:
            self._tally, self._told, self._seen = tally, 0, dict.fromkeys(EVENTS, 0)
        self._changes = tally.changes
        for event, counter in self._events.items():
            now = tally.counts[event]
            counter.add(now - self._seen[event])
            self._seen[event] = now
        for number, fact in tally.told_since(self._told):
            self._told = number
            self._telemetry.emit(fact)


def _gauge(opened: Callable[[], Pool | None], state: str) -> float:
    pool = opened()
    return pool.stats()[state] if pool is not None else 0.0


async def _ping(pool: Pool) -> float:
    """Return the seconds of one round trip; 0 where all connections are busy and the server serves them."""
    stats = pool.stats()
    busy = not stats["idle"] and stats["in_use"] >= stats["max"]
    if busy and pool.clock() - pool.lent_at < _SIGN_OF_LIFE:
        return 0.0
    lease = await pool.acquire()
    began = perf_counter()
    try:
        await lease.connection.execute("SELECT 1")
    except BaseException:
        lease.suspect = True
        raise
    finally:
        pool.release(lease)
    return perf_counter() - began
