"""Who gets a connection, and when: on connections of no server, with a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import pytest

from sipup_middleware.bridge import here
from sipup_middleware.database import PoolConfig
from sipup_middleware.database.lease import Lease
from sipup_middleware.database.pool import Pool
from sipup_middleware.database.upkeep import tend
from sipup_middleware.errors import DatabaseUnavailable, PoolTimeout
from tests.database.doubles import Clock, Dials, Line


def line(lease: Lease) -> Line:
    assert isinstance(lease.connection, Line)
    return lease.connection


def pooled(**options: Any) -> Callable[[Callable[[Pool, Dials, Clock], Awaitable[None]]], Any]:
    """Run a test on the pool's home, with a pool of these options."""

    def decorate(test: Callable[[Pool, Dials, Clock], Awaitable[None]]) -> Any:
        async def run() -> None:
            dials, clock = Dials(), Clock()
            reset = options.get("always_reset", False)
            config = PoolConfig(
                **{"min": 0, "max": 2} | {k: v for k, v in options.items() if k != "always_reset"}
            )
            pool = Pool(dials, config, here(), always_reset=reset, clock=clock)
            try:
                await test(pool, dials, clock)
            finally:
                await pool.aclose()
            assert all(made.closed for made in dials.made)

        @wraps(test)
        async def on_home() -> None:
            await here().call(run)

        del on_home.__wrapped__  # pytest would ask for the test's own parameters
        return on_home

    return decorate


async def until(condition: Callable[[], object]) -> None:
    """As in `doubles`, but on the pool's own loop, where anyio takes a trio host's call for trio."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (it polls)
            await asyncio.sleep(0.001)


@pooled()
async def test_nothing_is_dialled_until_someone_asks(pool: Pool, dials: Dials, clock: Clock) -> None:
    await pool.start()

    assert not dials.tried


@pooled(min=3, max=5)
async def test_the_floor_is_open_when_the_start_returns(pool: Pool, dials: Dials, clock: Clock) -> None:
    await pool.start()

    assert pool.stats() == {"in_use": 0, "idle": 3, "max": 5, "waiting": 0}


@pooled(max=1)
async def test_a_clean_connection_is_lent_on_without_a_word(pool: Pool, dials: Dials, clock: Clock) -> None:
    for _ in range(100):
        pool.release(await pool.acquire())

    assert [each.log for each in dials.made] == [[]]


@pooled(max=1)
async def test_a_dirty_one_is_reset_before_it_is_lent_on(pool: Pool, dials: Dials, clock: Clock) -> None:
    lease = await pool.acquire()
    lease.dirty = True

    pool.release(lease)
    again = await pool.acquire()

    assert again is lease
    assert line(again).log == ["reset"]
    pool.release(again)


@pooled(max=1, always_reset=True)
async def test_every_one_is_reset_where_that_is_wanted(pool: Pool, dials: Dials, clock: Clock) -> None:
    for _ in range(3):
        pool.release(await pool.acquire())
    pool.release(await pool.acquire())

    assert dials.made[0].log == ["reset"] * 3


@pooled(max=5, max_waiting=100)
async def test_connections_go_to_those_who_wait_in_order(pool: Pool, dials: Dials, clock: Clock) -> None:
    served: list[int] = []

    async def one(number: int) -> None:
        lease = await pool.acquire()
        served.append(number)
        await asyncio.sleep(0)
        pool.release(lease)

    await asyncio.gather(*map(one, range(100)))

    assert served == list(range(100))
    assert len(dials.made) == 5


@pooled(max=1)
async def test_a_newcomer_does_not_overtake(pool: Pool, dials: Dials, clock: Clock) -> None:
    lease = await pool.acquire()
    first = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)

    pool.release(lease)
    newcomer = asyncio.ensure_future(pool.acquire())
    pool.release(await first)

    assert await newcomer is lease
    pool.release(lease)


@pooled(max=1, acquire_timeout=0.01)
async def test_who_waits_too_long_is_told_how_the_pool_stands(pool: Pool, dials: Dials, clock: Clock) -> None:
    lease = await pool.acquire()

    with pytest.raises(PoolTimeout, match=r"within 0.01 s \(in_use 1, idle 0, max 1, waiting 1\)"):
        await pool.acquire()

    assert not pool.waiting
    pool.release(lease)


@pooled(max=1, max_waiting=1)
async def test_past_max_waiting_nobody_waits(pool: Pool, dials: Dials, clock: Clock) -> None:
    lease = await pool.acquire()
    waits = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)

    with pytest.raises(PoolTimeout, match="too many"):
        pool.acquire().send(None)  # at the first step: it does not even yield

    pool.release(lease)
    pool.release(await waits)


@pooled(max=1)
async def test_a_waiter_cancelled_as_it_is_served_leaks_nothing(
    pool: Pool, dials: Dials, clock: Clock
) -> None:
    lease = await pool.acquire()
    waits = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)

    pool.release(lease)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits

    assert pool.stats()["idle"] == 1


@pooled()
async def test_a_dead_idle_connection_is_never_lent(pool: Pool, dials: Dials, clock: Clock) -> None:
    pool.release(await pool.acquire())
    dials.made[0].closed = True

    lease = await pool.acquire()

    assert line(lease) is dials.made[1]
    pool.release(lease)


@pooled()
async def test_one_that_idled_long_is_asked_before_it_is_lent(pool: Pool, dials: Dials, clock: Clock) -> None:
    pool.release(await pool.acquire())
    clock.now += 5

    pool.release(await pool.acquire())
    pool.release(await pool.acquire())

    assert dials.made[0].log == ["SELECT 1"]


@pooled(max=3)
async def test_one_silent_connection_speaks_for_all_that_idle(pool: Pool, dials: Dials, clock: Clock) -> None:
    leases = [await pool.acquire() for _ in range(3)]
    for lease in leases:
        pool.release(lease)
        line(lease).silent = True
    clock.now += 5

    lease = await pool.acquire()

    assert sum(len(made.log) for made in dials.made) == 1
    assert line(lease) is dials.made[3]
    pool.release(lease)


@pooled(min=1, max=3)
async def test_upkeep_replaces_black_holed_connections(pool: Pool, dials: Dials, clock: Clock) -> None:
    await pool.start()
    dials.made[0].silent = True
    clock.now += 30

    await tend(pool)
    await until(lambda: pool.stats()["idle"] == 1)

    assert dials.made[0].closed
    assert not dials.made[1].closed


@pooled(max_lifetime=100)
async def test_connections_are_renewed_at_different_times(pool: Pool, dials: Dials, clock: Clock) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(first)
    pool.release(second)

    assert first.expires != second.expires
    assert {1075 <= each.expires <= 1100 for each in (first, second)} == {True}
    clock.now = 1101
    await tend(pool)
    assert first.connection.is_closed()
    assert second.connection.is_closed()


@pooled(max=10)
async def test_while_the_server_is_away_one_prober_dials(pool: Pool, dials: Dials, clock: Clock) -> None:
    dials.error = ConnectionRefusedError("db.internal")
    with pytest.raises(DatabaseUnavailable):
        await pool.acquire()
    tried = dials.tried

    for _ in range(100):
        with pytest.raises(DatabaseUnavailable, match="ConnectionRefusedError") as failure:
            pool.acquire().send(None)  # at once: it does not even yield
        assert "db.internal" not in str(failure.value)

    assert dials.tried == tried
    dials.error = None
    await until(lambda: pool.outage is None)
    assert len(dials.made) == 1
    pool.release(await pool.acquire())


@pooled(max=10)
async def test_after_a_loss_one_dial_finds_out(pool: Pool, dials: Dials, clock: Clock) -> None:
    leases = [await pool.acquire() for _ in range(10)]
    dials.error = ConnectionRefusedError()
    tried = dials.tried
    waits = [asyncio.ensure_future(pool.acquire()) for _ in range(50)]
    await asyncio.sleep(0)

    for lease in leases:
        line(lease).closed = True
        pool.release(lease)
    outcomes = await asyncio.gather(*waits, return_exceptions=True)

    assert {type(each) for each in outcomes} == {DatabaseUnavailable}
    assert dials.tried == tried + 1


@pooled()
async def test_what_was_dialled_before_an_outage_is_not_used_after_it(
    pool: Pool, dials: Dials, clock: Clock
) -> None:
    before = await pool.acquire()
    dials.error = ConnectionRefusedError()
    with pytest.raises(DatabaseUnavailable):
        await pool.acquire()
    dials.error = None
    await until(lambda: pool.outage is None)

    pool.release(before)
    await until(before.connection.is_closed)

    pool.release(await pool.acquire())


@pooled(min=2)
async def test_a_server_that_is_away_does_not_fail_the_start(pool: Pool, dials: Dials, clock: Clock) -> None:
    dials.error = ConnectionRefusedError()

    await pool.start()

    assert pool.outage == "ConnectionRefusedError"
    assert dials.tried == 1
    dials.error = None
    await until(lambda: pool.stats()["idle"] == 2)


async def test_a_lost_cause_does_not_keep_a_closing_pool() -> None:
    async def leak() -> None:
        dials = Dials()
        pool = Pool(dials, PoolConfig(min=0, max=1), here())
        await pool.acquire()
        waits = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        await pool.aclose()
        with pytest.raises(DatabaseUnavailable):
            await waits
        assert dials.made[0].closed

    await here().call(leak)
