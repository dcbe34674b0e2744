"""What one wrapping of the database layer counts, and how readiness asks; for the host's thread only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter

from sipup_middleware.database.pool import Pool
from sipup_middleware.telemetry import BackendLost, BackendRestored, Check, Reading, Telemetry

__all__ = ("Meters",)

_SIGN_OF_LIFE = 1.0
"""Seconds: where every connection is lent, one that came back this recently shows that the server answers."""

_STATES = ("max", "in_use", "idle", "waiting")


class Meters:
    """Counters, histograms, gauges, checks and facts of one wrapped app."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.acquire = telemetry.histogram("db.acquire")
        self.query = telemetry.histogram("db.query")
        self.ok = telemetry.counter("db.queries", outcome="ok")
        self.error = telemetry.counter("db.queries", outcome="error")
        self.committed = telemetry.counter("db.transactions", outcome="committed")
        self.rolled_back = telemetry.counter("db.transactions", outcome="rolled_back")
        self.pool_timeouts = telemetry.counter("db.pool_timeouts")
        self._telemetry = telemetry
        self._lost = False

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

    def look(self, pool: Pool) -> None:
        """Tell once that the server was lost, and once that it is back."""
        if (pool.outage is not None) is self._lost:
            return
        reason = pool.outage
        self._lost = reason is not None
        self._telemetry.emit(
            BackendRestored("database") if reason is None else BackendLost("database", reason)
        )


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
