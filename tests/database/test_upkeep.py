"""Connections that died, grew old, or are not to be trusted: nobody gets them."""

from __future__ import annotations

import anyio
import psycopg
import pytest

from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.database.pool import Pool
from sipup_middleware.database.upkeep import tend
from tests.database.doubles import Clock, Dials, wire_to
from tests.database.test_pool import line, pooled, until


@pooled()
async def test_one_whose_server_said_something_is_asked_before_it_is_lent(
    pool: Pool, dials: Dials, clock: Clock
) -> None:
    pool.release(await pool.acquire())
    dials.made[0].quiet = False
    dials.made[0].silent = True
    clock.now += 0.5

    lease = await pool.acquire()

    assert dials.made[0].log == ["SELECT 1"]
    assert line(lease) is dials.made[1]
    pool.release(lease)


@pooled()
async def test_one_that_idled_for_a_moment_is_lent_without_a_word(
    pool: Pool, dials: Dials, clock: Clock
) -> None:
    pool.release(await pool.acquire())
    clock.now += 0.5

    pool.release(await pool.acquire())

    assert dials.made[0].log == []


@pooled()
async def test_one_that_was_dropped_and_comes_back_later_stays_dropped(
    pool: Pool, dials: Dials, clock: Clock
) -> None:
    lease = await pool.acquire()

    pool.discard(lease)
    pool.release(lease)

    assert pool.stats() == {"in_use": 0, "idle": 0, "max": 2, "waiting": 0}
    assert pool.tally.counts["dropped"] == 1


@pooled(min=50, max=50, max_lifetime=1000)
async def test_what_was_opened_together_is_not_renewed_together(
    pool: Pool, dials: Dials, clock: Clock
) -> None:
    await pool.start()
    began, renewed = clock.now, list[int]()

    for step in range(25):
        clock.now = began + 750 + 10 * (step + 1)
        before = pool.tally.counts["recycled"]
        await tend(pool)
        await until(lambda: pool.stats()["idle"] == 50)
        renewed.append(pool.tally.counts["recycled"] - before)

    assert sum(renewed) == 50
    assert max(renewed) <= 4, "a burst would take most of a pool at once"


@pooled(max=1)
async def test_what_happens_is_counted(pool: Pool, dials: Dials, clock: Clock) -> None:
    lease = await pool.acquire()
    lease.dirty = True
    pool.release(lease)
    lease = await pool.acquire()
    lease.expires = 0.0
    pool.release(lease)
    lease = await pool.acquire()
    pool.discard(lease)

    expected = {"dialled": 2, "dropped": 1, "leaked": 0, "recycled": 1, "reset": 1, "shed": 0, "timed_out": 0}
    assert pool.tally.counts == expected
    pool.release(lease)


@pytest.mark.live
async def test_a_black_holed_idle_connection_is_replaced_by_the_next_round(database_url: str) -> None:
    """Within health_interval and the half second that it has to answer: 31 s by default."""
    async with wire_to(database_url) as wire:
        config = PoolConfig(min=2, max=2, health_interval=0.2)
        async with Database(wire.url, pool=config).open() as db:
            await db.pool.home.call(both_idle, db.pool)
            before = set(db.pool.all)
            wire.black_hole()

            with anyio.fail_after(10):
                while db.pool.all & before or len(db.pool.idle) < 2:  # noqa: ASYNC110 (it polls)
                    await anyio.sleep(0.01)
                assert await db.fetchval("SELECT 1") == 1


async def both_idle(pool: Pool) -> None:
    await until(lambda: len(pool.idle) == 2)


@pytest.mark.live
async def test_borrowing_a_black_holed_connection_still_gives_a_good_one(database_url: str) -> None:
    async with (
        wire_to(database_url) as wire,
        Database(wire.url, pool=PoolConfig(min=3, max=3)).open() as db,
    ):
        await db.pool.home.call(all_stale, db.pool)
        wire.black_hole()

        with anyio.fail_after(10):
            assert await db.fetchval("SELECT 1") == 1

        assert db.pool.tally.counts["dropped"] == 3


async def all_stale(pool: Pool) -> None:
    await until(lambda: len(pool.idle) == 3)
    for lease in pool.idle:
        lease.idle_since -= 2


@pytest.mark.live
async def test_a_backend_that_was_terminated_while_idle_is_never_handed_out(url: str) -> None:
    """Not even to a write, and before the loop could hear of it: kept busy until the backend is gone."""

    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        await db.pool.home.call(kill_and_borrow, db, url)


async def kill_and_borrow(db: Facade, url: str) -> None:
    for _ in range(10):
        pid = await db.fetchval("SELECT pg_backend_pid()")
        terminate(url, pid)
        [lease] = db.pool.idle
        lease.idle_since -= 0.5
        assert not lease.connection.is_closed()

        lease = await db.pool.acquire()

        assert await lease.connection.fetchval("SELECT pg_backend_pid()") != pid
        db.pool.release(lease)


def terminate(url: str, pid: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
