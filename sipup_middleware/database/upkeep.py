"""What is done to connections beside the requests: reset, recycled, asked whether they are there."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from sipup_middleware.bridge import GRACE, Background, spawn
from sipup_middleware.database.leaks import watch_leases
from sipup_middleware.database.lease import Lease

if TYPE_CHECKING:
    from sipup_middleware.database.pool import Pool

__all__ = ("ask", "begin_upkeep", "close", "give_back", "tend")

_ANSWER = 0.5
"""Seconds to answer in: borrowing a dead one costs less than 1 s, with the dial that follows."""


def begin_upkeep(pool: Pool) -> list[Background]:
    """Begin what goes on for as long as the pool is open."""
    keepers = [spawn(pool.home, lambda: _check_idle(pool), name=f"sipup-{pool.name}-keeper")]
    if (after := pool.config.leak_after) is not None:
        keepers.append(spawn(pool.home, lambda: watch_leases(pool, after), name=f"sipup-{pool.name}-watch"))
    return keepers


async def _check_idle(pool: Pool) -> None:
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
        elif await ask(pool, lease):
            pool.lend(lease, now)
    pool.dialler.grow()


async def ask(pool: Pool, lease: Lease) -> bool:
    """Say whether an idle connection, taken from `idle`, is good; drop it if not.

    One that keeps silent speaks for those that idle beside it: the way to the server was cut.
    """
    try:
        await lease.connection.execute("SELECT 1", timeout=_ANSWER)
    except Exception as error:  # noqa: BLE001 (whatever it is, the connection is not good)
        pool.discard(lease)
        while isinstance(error, TimeoutError) and pool.idle:
            pool.discard(pool.idle.pop())
        return False
    except BaseException:
        lease.suspect = True
        pool.release(lease)
        raise
    return True


async def give_back(pool: Pool, lease: Lease) -> None:
    """Mend a connection and lend it on, or renew it; drop one that cannot be mended in time."""
    try:
        await _mended(pool, lease)
    except Exception:  # noqa: BLE001 (whatever it is, nobody else may get this session)
        pool.discard(lease)
    except BaseException:
        pool.discard(lease)
        raise
    finally:
        pool.mending -= 1


async def _mended(pool: Pool, lease: Lease) -> None:
    async with asyncio.timeout(GRACE):
        lease.dirty = lease.dirty or pool.always_reset
        if await lease.mend():
            pool.tally.count("reset")
    now = pool.clock()
    if lease.expires <= now:
        await pool.retire(lease)
    else:
        pool.lend(lease, now)


async def close(lease: Lease) -> None:
    """Close a connection, with a goodbye if the server listens."""
    with suppress(Exception):
        await lease.connection.close(timeout=GRACE)
    lease.connection.terminate()
