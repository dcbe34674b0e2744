"""One hot standby: its pool, how far it has replayed, and whether it may be read from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from sipup_middleware.database.lease import After, Statement
from sipup_middleware.errors import PoolTimeout
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact

if TYPE_CHECKING:
    from sipup_middleware.database.pool import Pool

__all__ = ("Mark", "Standby", "asked")

_REPLAYED = "SELECT (pg_last_wal_replay_lsn() - '0/0')::int8"
_ANSWER = 1.0
"""Seconds that it has to say how far it is; silent, it is left out."""


class Mark(NamedTuple):
    """Where the primary's log was at a moment."""

    write: int
    """Our writes that the log had by then."""

    position: int
    at: float


class Standby:
    """Left out from the start, until it has said how far it is."""

    __slots__ = ("lag", "pool", "position", "reason", "seen")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.reason: str | None = "unknown"
        """Why it is left out; None = it serves."""
        self.seen = -1
        """The last of our writes that it has replayed."""
        self.position = 0
        """Of what it has replayed, in the log."""
        self.lag = 0.0
        """Seconds that it is behind the primary."""

    def serves(self, after: After) -> bool:
        """Whether it may be read from by one who must see what is *after*."""
        fresh = self.seen >= after.write and self.position >= after.position
        return fresh and self.reason is None and self.pool.outage is None

    @property
    def load(self) -> int:
        """Connections lent and wanted."""
        return len(self.pool.all) - len(self.pool.idle) + len(self.pool.waiting)

    async def look(self, marks: Iterable[Mark], now: float, max_lag: float) -> Fact | None:
        """Find out how far it is; return what there is to tell of it."""
        try:
            position = await asked(self.pool, _REPLAYED)
        except PoolTimeout:
            return None  # it is busy: what is known of it still holds
        except Exception as error:  # noqa: BLE001 (whatever it is, it did not say how far it is)
            return self._judge(type(error).__name__)
        if position is None:
            return self._judge("not a standby")
        self.position = position
        self._compare(marks, now)
        return self._judge("lag" if self.lag > max_lag else None)

    def _compare(self, marks: Iterable[Mark], now: float) -> None:
        self.lag = 0.0
        for mark in marks:
            if mark.position > self.position:
                self.lag = now - mark.at
                break
            self.seen = mark.write

    def _judge(self, reason: str | None) -> Fact | None:
        before, self.reason = self.reason, reason
        if reason is not None and before in {None, "unknown"}:
            return BackendLost(self.pool.name, reason)
        if reason is None and before not in {None, "unknown"}:
            return BackendRestored(self.pool.name)
        return None


async def asked(pool: Pool, sql: str) -> int | None:
    """Return the number that *sql* gives; raises what a statement does."""
    statement = Statement("fetchval", sql, (), _ANSWER)
    statement.patience = _ANSWER
    number: int | None = await statement.on_pool(pool)
    return number
