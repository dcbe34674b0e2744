"""What is done to connections beside the requests: reset, recycled, asked whether they are there."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from sipup_middleware.bridge import GRACE
from sipup_middleware.database.lease import Lease

if TYPE_CHECKING:
    from sipup_middleware.database.pool import Pool

__all__ = ("check_idle", "close", "give_back", "tend")


async def check_idle(pool: Pool) -> None:
    """Tend the pool every ``health_interval`` seconds."""
    while True:
        await asyncio.sleep(pool.config.health_interval)
        await tend(pool)


async def tend(pool: Pool) -> None:
    """Go once through what idles, the longest idle first: close the old, drop the dead, fill up the floor.

    Each is out of the pool while it is looked at, so nobody borrows it meanwhile.
    """
    for _ in range(len(pool.idle)):
        if not pool.idle:
            break
        lease = pool.idle.popleft()
        now = pool.clock()
        if lease.connection.is_closed():
            pool.discard(lease)
        elif lease.expires <= now:
            await pool.retire(lease)
        elif await pool.answers(lease):
            pool.lend(lease, now)
    pool.dialler.grow()


async def give_back(pool: Pool, lease: Lease) -> None:
    """Mend a connection and lend it on; drop one that cannot be mended in time."""
    try:
        async with asyncio.timeout(GRACE):
            if pool.always_reset:
                lease.dirty = True
            await lease.mend()
    except Exception:  # noqa: BLE001 (whatever it is, nobody else may get this session)
        pool.discard(lease)
    except BaseException:
        pool.discard(lease)
        raise
    else:
        if lease.is_old(pool.clock(), pool.dialler.epoch):
            await pool.retire(lease)
        else:
            pool.lend(lease, pool.clock())


async def close(lease: Lease) -> None:
    """Close a connection, with a goodbye if the server listens."""
    with suppress(Exception):
        await lease.connection.close(timeout=GRACE)
    lease.connection.terminate()
