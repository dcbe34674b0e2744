"""What happens on the pool's home is told on the host's thread, once, by whoever comes by."""

from __future__ import annotations

import anyio
import pytest

from sipup_middleware.bridge import here
from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.database.meters import Meters
from sipup_middleware.database.pool import Pool
from sipup_middleware.database.tally import EVENTS, Tally
from sipup_middleware.telemetry import Fact, Telemetry, WarningRaised
from tests.asgi import get, lifespan
from tests.database.doubles import Clock, Dials
from tests.database.test_middleware import bare
from tests.database.test_pool import pooled


def counted(telemetry: Telemetry) -> dict[str, int]:
    return {labels["event"]: counter.value for labels, counter in telemetry.counters("db.pool_events")}


@pooled(max=1)
async def test_what_happened_is_counted_once(pool: Pool, dials: Dials, clock: Clock) -> None:
    telemetry = Telemetry()
    meters = Meters(telemetry)
    lease = await pool.acquire()
    lease.dirty = True
    pool.release(lease)
    pool.release(await pool.acquire())

    for _ in range(3):
        meters.look(pool)

    assert counted(telemetry) == dict.fromkeys(EVENTS, 0) | {"dialled": 1, "reset": 1}


@pooled(max=1)
async def test_a_fact_is_told_once_to_each_app(pool: Pool, dials: Dials, clock: Clock) -> None:
    facts: list[Fact] = []
    first, second = (Meters(Telemetry(observers=[facts.append])) for _ in range(2))
    pool.tally.tell(WarningRaised("database", "too many"))

    for meters in (first, first, second, second):
        meters.look(pool)

    assert facts == [WarningRaised("database", "too many")] * 2


@pooled(max=1)
async def test_a_pool_that_is_opened_again_is_counted_from_its_start(
    pool: Pool, dials: Dials, clock: Clock
) -> None:
    telemetry = Telemetry()
    meters = Meters(telemetry)
    again = Pool(Dials(), PoolConfig(min=0, max=1), here())
    for each in (pool, again):
        each.release(await each.acquire())
        meters.look(each)
    await again.aclose()

    assert counted(telemetry)["dialled"] == 2


def test_facts_that_nobody_came_by_for_are_the_newest() -> None:
    tally = Tally()
    for number in range(250):
        tally.tell(WarningRaised("database", str(number)))

    kept = tally.told_since(0)

    assert [number for number, _ in kept] == list(range(151, 251))
    assert tally.told_since(250) == []


@pytest.mark.live
async def test_how_long_a_transaction_keeps_its_connection_is_recorded(url: str) -> None:
    telemetry = Telemetry()

    async def handle(db: Facade) -> object:
        async with db.transaction():
            await db.fetchval("SELECT 1")
            await anyio.sleep(0.05)
        return await db.fetchval("SELECT 1")

    app = Database(url, pool=PoolConfig(min=0, max=1))(bare(handle), telemetry=telemetry)
    async with lifespan(app):
        await get(app)

    hold = telemetry.histogram("db.hold")
    assert hold.count == 1
    assert hold.total >= 0.05
