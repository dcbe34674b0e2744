"""Reads from a real standby: when they go there, and that nobody misses what he wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.services import Services, run_services
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact, Telemetry
from tests.asgi import get, lifespan
from tests.database.doubles import until
from tests.database.servers import Replica
from tests.database.test_middleware import bare

pytestmark = pytest.mark.live

WHERE = "SELECT CASE WHEN pg_is_in_recovery() THEN 'replica' ELSE 'primary' END"
PLAIN = "SELECT current_setting('in_hot_standby')"


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Services, Replica]]:
    with run_services(valkey=False, environ={}) as services:
        assert services.postgres is not None
        replica = Replica(services.postgres)
        replica.start()
        yield services, replica


@pytest.fixture
def layer(pair: tuple[Services, Replica]) -> Database:
    services, replica = pair
    replica.start()
    assert services.database_url is not None
    return Database(services.database_url, replicas=[replica.url], pool=PoolConfig(min=1, max=5))


@asynccontextmanager
async def direct(url: str) -> AsyncIterator[Facade]:
    async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
        yield db


@asynccontextmanager
async def paused(replica: Replica) -> AsyncIterator[None]:
    """Keep the standby where it is in the log."""
    async with direct(replica.url) as db:
        await db.execute("SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            await db.execute("SELECT pg_wal_replay_resume()")


async def until_served(db: Facade) -> None:
    """Wait until the standby has what this facade wrote, and may be read."""
    replicas = db.pool.replicas
    assert replicas is not None
    await until(lambda: replicas.pick(db.after) is not None)


async def test_a_read_goes_to_the_replica_if_it_says_so(layer: Database) -> None:
    async with layer.open() as db:
        await until_served(db)

        asked, by_default = await db.fetchval(WHERE, replica=True), await db.fetchval(WHERE)

    assert (asked, by_default) == ("replica", "primary")


async def test_reads_go_to_the_replica_where_the_database_says_so(pair: Any, layer: Database) -> None:
    layer = Database(layer.url, replicas=layer.replicas, reads="replica", pool=layer.pool)
    async with layer.open() as db:
        await until_served(db)

        by_default, refused = await db.fetchval(PLAIN), await db.fetchval(PLAIN, replica=False)
        unknown = await db.fetchval(WHERE)

    assert (by_default, refused) == ("on", "off")
    assert unknown == "primary", "a function that is not known to read may write"


async def test_a_transaction_and_a_write_stay_on_the_primary(layer: Database) -> None:
    async with layer.open() as db:
        await until_served(db)
        async with db.transaction():
            inside = await db.fetchval(WHERE, replica=True)
        await db.fetchval("SELECT pg_current_xact_id()", replica=True)

    assert inside == "primary"


@pytest.mark.parametrize("how", ["statement", "transaction"])
async def test_who_wrote_reads_the_primary_until_the_replica_has_it(
    pair: tuple[Services, Replica], layer: Database, how: str
) -> None:
    async with layer.open() as db:
        await db.execute("DROP TABLE IF EXISTS notes")
        await db.execute("CREATE TABLE notes AS SELECT 0 AS number")
        await until_served(db)
        async with paused(pair[1]), layer.open() as other:
            if how == "statement":
                await db.execute("UPDATE notes SET number = 1")
            else:
                async with db.transaction():
                    await db.execute("UPDATE notes SET number = 1")

            mine = await db.fetchval("SELECT number FROM notes", replica=True)
            others = await other.fetchval("SELECT number FROM notes", replica=True)

        await until_served(db)
        later = await db.fetchrow("SELECT number, pg_is_in_recovery() FROM notes", replica=True)

    assert (mine, others) == (1, 0), "whoever has not written may read the past"
    assert later is not None
    assert tuple(later) == (1, True)


async def test_another_process_waits_for_the_same_write_by_its_mark(
    pair: tuple[Services, Replica], layer: Database
) -> None:
    twin = Database(layer.url, replicas=layer.replicas, pool=layer.pool)
    async with layer.open() as db, twin.open() as elsewhere:
        await until_served(elsewhere)
        async with paused(pair[1]):
            await db.execute("CREATE TABLE IF NOT EXISTS marked (number int)")
            await db.execute("INSERT INTO marked VALUES (1)")
            mark = await db.mark()

            elsewhere.see(mark)
            elsewhere.see("'; DROP")
            assert await elsewhere.fetchval(WHERE, replica=True) == "primary"

        await until_served(elsewhere)
        assert await elsewhere.fetchval(WHERE, replica=True) == "replica"


async def test_never_stale_whatever_the_timing(layer: Database) -> None:
    async with layer.open() as setup:
        await setup.execute("CREATE TABLE IF NOT EXISTS counts (who int PRIMARY KEY, number int)")
    sql = "SELECT number, pg_is_in_recovery() AS standby FROM counts WHERE who = $1"
    stale, places = list[tuple[int, int]](), set[bool]()

    async def one(who: int) -> None:
        async with layer.open() as db:
            await db.execute(
                "INSERT INTO counts VALUES ($1, 0) ON CONFLICT (who) DO UPDATE SET number = 0", who
            )
            for number in range(1, 30):
                await db.execute("UPDATE counts SET number = $2 WHERE who = $1", who, number)
                for _ in range(3):
                    row = await db.fetchrow(sql, who, replica=True)
                    assert row is not None
                    places.add(row["standby"])
                    if row["number"] != number:
                        stale.append((number, row["number"]))
                    await anyio.sleep(0.01)

    async with layer.open(), anyio.create_task_group() as tasks:
        for who in range(10):
            tasks.start_soon(one, who)

    assert stale == []
    assert False in places


async def test_a_replica_that_is_away_is_left_out_and_taken_back(
    pair: tuple[Services, Replica], layer: Database
) -> None:
    facts: list[Fact] = []
    replica = pair[1]

    async def where(db: Facade) -> object:
        return await db.fetchval(WHERE, replica=True)

    telemetry = Telemetry(observers=[facts.append])
    app = layer(bare(where), telemetry=telemetry)
    async with lifespan(app):
        await until_answer(app, "replica")
        await anyio.to_thread.run_sync(replica.stop)

        during = [await get(app) for _ in range(20)]
        await until(lambda: layer._pool().replicas.standbys[0].reason is not None)  # type: ignore[union-attr]  # (it has one)
        reading = await telemetry.checks["postgres:replicas"].probe()
        await anyio.to_thread.run_sync(replica.start)
        await until_answer(app, "replica")

    assert {(reply.status, reply.json()) for reply in during} == {(200, "primary")}
    assert reading is not None
    assert (reading.status, reading.output) == ("warn", "left out: database replica 1")
    kinds = [type(fact) for fact in facts if isinstance(fact, (BackendLost, BackendRestored))]
    assert kinds == [BackendLost, BackendRestored]


async def until_answer(app: Any, place: str) -> None:
    with anyio.fail_after(20):
        while (await get(app)).json() != place:  # noqa: ASYNC110 (it polls)
            await anyio.sleep(0.02)


async def test_a_replica_that_lags_is_left_out(pair: tuple[Services, Replica], layer: Database) -> None:
    layer = Database(layer.url, replicas=layer.replicas, pool=layer.pool, max_lag=0.2)
    async with layer.open() as db:
        await until_served(db)
        async with paused(pair[1]), direct(layer.url) as elsewhere:
            await elsewhere.execute("CREATE TABLE IF NOT EXISTS behind (number int)")
            await elsewhere.execute("INSERT INTO behind VALUES (1)")

            await until(lambda: db.pool.replicas.standbys[0].reason == "lag")  # type: ignore[union-attr]  # (it has one)
            assert await db.fetchval(WHERE, replica=True) == "primary"

        await until_served(db)


async def test_a_server_that_is_no_standby_is_never_read(layer: Database) -> None:
    layer = Database(layer.url, replicas=[layer.url], pool=layer.pool)
    async with layer.open() as db:
        [standby] = db.pool.replicas.standbys  # type: ignore[union-attr]  # (it has them)

        assert standby.reason == "not a standby"
        assert db.pool.replicas is not None
        assert db.pool.replicas.pick(db.after) is None


async def test_a_log_that_has_just_begun_a_page_leaves_no_replica_behind(
    pair: tuple[Services, Replica], layer: Database
) -> None:
    """As after a base backup: until somebody writes, the two servers name the same place differently."""
    async with layer.open() as db:
        await until_served(db)
        await db.execute("SELECT pg_switch_wal()")

        with anyio.fail_after(5):
            await until_served(db)


async def test_the_pools_of_the_replicas_close_with_it(layer: Database) -> None:
    async with layer.open() as db:
        replicas = db.pool.replicas
        await until_served(db)

    assert replicas is not None
    assert [each.pool.stats()["in_use"] + each.pool.stats()["idle"] for each in replicas.standbys] == [0]


@pytest.mark.parametrize(
    ("field", "value"),
    [("replicas", ["mysql://db"]), ("reads", "anywhere"), ("max_lag", 0), ("pooler", "session")],
)
def test_nonsense_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"Database\.{field}"):
        Database("postgresql://db/app", **{field: value})


def test_no_password_of_a_replica_is_printed() -> None:
    assert "s3cret" not in repr(Database("postgresql://db/app", replicas=["postgresql://app:s3cret@r1/app"]))
