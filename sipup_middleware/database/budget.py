"""How many connections a process may have: its share of what its deployment, and its server, allow."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sipup_middleware.database.backend import Connection
from sipup_middleware.telemetry import BudgetAssumed, WarningRaised

if TYPE_CHECKING:
    from sipup_middleware.database.pool import Pool

__all__ = ("MOST", "told_workers", "weigh")

MOST = 50
"""Connections that one process gains from, at most."""

_ALLOWED = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true), '0')::int
"""
_PATIENCE = 1.0


def told_workers() -> int | None:
    """Return how many workers the environment says there are; None where it does not."""
    for name in ("SIPUP_WORKERS", "WEB_CONCURRENCY"):
        if (said := os.environ.get(name, "")).isdecimal() and int(said) > 0:
            return int(said)
    return None


async def weigh(pool: Pool, connection: Connection) -> None:
    """Ask the server once how many connections it has, and warn where the workers' pools are past that.

    A server that does not answer this is asked something else soon enough.
    """
    workers = pool.config.known_workers
    if workers is None and pool.config.max == "auto":
        pool.tally.tell(BudgetAssumed(pool.name, pool.max))
    try:
        allowed = await connection.fetchval(_ALLOWED, timeout=_PATIENCE)
    except Exception:  # noqa: BLE001 (an advice is not worth a connection)
        return
    wanted = pool.max * (workers or 1)
    if isinstance(allowed, int) and wanted > allowed:
        pool.tally.tell(WarningRaised(pool.name, _advice(pool.max, workers or 1, allowed)))


def _advice(size: int, workers: int, allowed: int) -> str:
    return (
        f"{workers} workers with a pool of {size} may ask for {workers * size} connections, and the server"
        f" has {allowed}: lower PoolConfig.budget, or raise max_connections"
    )
