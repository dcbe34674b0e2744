"""Who waits, for how long, and who is told at once that it would be in vain."""

from __future__ import annotations

import asyncio

import pytest

from sipup_middleware.bridge import here
from sipup_middleware.database import PoolConfig
from sipup_middleware.database.lease import Lease
from sipup_middleware.database.pool import Pool
from sipup_middleware.errors import PoolTimeout
from tests.database.doubles import Clock, Dials
from tests.database.test_pool import pooled


async def lend_for(pool: Pool, clock: Clock, seconds: float, *, times: int = 100) -> None:
    """Let the pool learn how long a borrowing lasts."""
    for _ in range(times):
        lease = await pool.acquire()
        clock.now += seconds
        pool.release(lease)


def waiting(pool: Pool, count: int, patience: float | None = None) -> list[asyncio.Task[Lease]]:
    return [asyncio.ensure_future(pool.acquire(patience)) for _ in range(count)]


async def serve(pool: Pool, leases: list[Lease], waits: list[asyncio.Task[Lease]]) -> None:
    for lease in leases:
        pool.release(lease)
    for wait in waits:
        pool.release(await wait)


@pooled(max=2, acquire_timeout=5)
async def test_who_would_wait_past_its_time_is_refused_before_it_waits(
    pool: Pool, dials: Dials, clock: Clock
) -> None:
    await lend_for(pool, clock, 1.0)
    leases = [await pool.acquire(), await pool.acquire()]
    waits = waiting(pool, 10)
    await asyncio.sleep(0)

    with pytest.raises(PoolTimeout, match=r"in 5\.5 s") as refusal:
        pool.acquire().send(None)  # at the first step: it does not even yield

    assert refusal.value.stats == {"in_use": 2, "idle": 0, "max": 2, "waiting": 10}
    assert pool.tally.counts["shed"] == 1
    await serve(pool, leases, waits)


@pooled(max=1)
async def test_a_shorter_patience_is_refused_sooner(pool: Pool, dials: Dials, clock: Clock) -> None:
    await lend_for(pool, clock, 1.0)
    lease = await pool.acquire()

    with pytest.raises(PoolTimeout, match="come free"):
        pool.acquire(0.5).send(None)
    waits = waiting(pool, 1, 2.0)
    await asyncio.sleep(0)

    assert len(pool.waiting) == 1
    await serve(pool, [lease], waits)


@pooled(max=1)
async def test_however_long_a_borrowing_lasted_an_idle_connection_is_lent(
    pool: Pool, dials: Dials, clock: Clock
) -> None:
    await lend_for(pool, clock, 3600.0)

    pool.release(await pool.acquire(0.001))

    assert pool.hold <= pool.config.acquire_timeout, "one leak counts for no more than who waits for it"


@pooled(max=1)
async def test_nobody_is_refused_by_what_a_single_borrowing_took(
    pool: Pool, dials: Dials, clock: Clock
) -> None:
    await lend_for(pool, clock, 3600.0, times=1)
    lease = await pool.acquire()
    waits = waiting(pool, 10)
    await asyncio.sleep(0)

    assert len(pool.waiting) == 10
    await serve(pool, [lease], waits)


@pooled(max=1)
async def test_what_the_loop_takes_is_not_held_against_those_who_come(
    pool: Pool, dials: Dials, clock: Clock
) -> None:
    lease = await pool.acquire()
    for _ in range(100):
        [wait] = waiting(pool, 1)
        await asyncio.sleep(0)
        pool.release(lease)
        clock.now += 1  # a turn of a loop that a crowd keeps busy
        lease = await wait
        clock.now += 2

    assert pool.hold == 0
    pool.release(lease)


@pooled(max=1, acquire_timeout=30)
async def test_a_shorter_patience_ends_alone(pool: Pool, dials: Dials, clock: Clock) -> None:
    lease = await pool.acquire()
    first, *others = [*waiting(pool, 1), *waiting(pool, 2, 0.01), *waiting(pool, 1)]

    outcomes = await asyncio.gather(*others[:2], return_exceptions=True)

    assert {type(each) for each in outcomes} == {PoolTimeout}
    assert "within 0.01 s" in str(outcomes[0])
    assert len(pool.waiting) == 2
    await serve(pool, [lease], [first, others[2]])


@pooled(max=1, acquire_timeout=0.05)
async def test_one_timer_serves_a_whole_line(pool: Pool, dials: Dials, clock: Clock) -> None:
    lease = await pool.acquire()
    waits = waiting(pool, 50)
    await asyncio.sleep(0.02)
    gone, late = waits[0], waiting(pool, 1)
    gone.cancel()

    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*waits, *late, return_exceptions=True)

    assert [type(each) for each in outcomes] == [asyncio.CancelledError] + [PoolTimeout] * 50
    assert pool.tally.counts["timed_out"] == 50
    assert not pool.waiting
    pool.release(lease)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_hundred_on_five_wait_alike() -> None:
    """The p99 of the waits over their mean, in a line that is never empty: here in turns, not in seconds."""
    pool = Pool(Dials(), PoolConfig(min=0, max=5), here())
    turns, waits = 0, list[int]()

    async def one() -> None:
        nonlocal turns
        for _ in range(20):
            asked = turns
            lease = await pool.acquire()
            waits.append(turns - asked)
            await asyncio.sleep(0)
            turns += 1
            pool.release(lease)

    await asyncio.gather(*(one() for _ in range(100)))

    settled = sorted(waits[200:-200])
    assert settled[int(0.99 * len(settled))] <= 1.3 * sum(settled) / len(settled)
    await pool.aclose()
