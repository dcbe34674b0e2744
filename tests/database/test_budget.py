"""How many connections a process may have, and who is told when they are too many."""

from __future__ import annotations

import pytest

from sipup_middleware.database import Database, PoolConfig
from sipup_middleware.services import Services
from sipup_middleware.telemetry import BudgetAssumed, Fact, Telemetry, WarningRaised
from tests.asgi import get, lifespan
from tests.database.test_middleware import bare, one

KINDS = (BudgetAssumed, WarningRaised)


@pytest.fixture(autouse=True)
def nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIPUP_WORKERS", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)


async def facts_of(url: str, config: PoolConfig) -> list[Fact]:
    facts: list[Fact] = []
    app = Database(url, pool=config)(bare(one), telemetry=Telemetry(observers=[facts.append]))
    async with lifespan(app):
        for _ in range(3):
            await get(app)
    return [fact for fact in facts if isinstance(fact, KINDS)]


def test_what_listens_beside_the_pool_counts() -> None:
    assert PoolConfig(budget=100, workers=4, reserved=1).size == 24
    assert PoolConfig(budget=4, workers=4, reserved=1).size == 1
    assert PoolConfig(max=10, reserved=1).size == 10


@pytest.mark.live
async def test_more_than_the_server_has_is_told_once(url: str) -> None:
    facts = await facts_of(url, PoolConfig(min=2, budget=200, workers=4))

    [fact] = facts
    assert isinstance(fact, WarningRaised)
    assert fact.layer == "database"
    assert fact.message.startswith("4 workers with a pool of 50 may ask for 200 connections")
    assert "the server has 97" in fact.message


@pytest.mark.live
async def test_what_fits_is_not_told(url: str) -> None:
    assert await facts_of(url, PoolConfig(min=2, budget=96, workers=2)) == []
    assert await facts_of(url, PoolConfig(min=0, budget=96, workers=2)) == []


@pytest.mark.live
async def test_that_nobody_said_how_many_share_the_budget_is_told_once(url: str) -> None:
    assert await facts_of(url, PoolConfig(min=2)) == [BudgetAssumed("database", 50)]
    assert await facts_of(url, PoolConfig(min=2, max=10)) == [], "who names a size has no budget"


@pytest.mark.live
async def test_connections_of_superusers_are_nobody_elses(own_services: Services) -> None:
    """The warning is right: what is past it, an ordinary user does not get."""
    assert own_services.database_url is not None
    async with Database(own_services.database_url, pool=PoolConfig(min=0, max=1)).open() as db:
        await db.execute("CREATE ROLE shop LOGIN")
    shop = own_services.database_url.replace("postgres@", "shop@", 1)

    facts = await facts_of(shop, PoolConfig(min=1, max=98, workers=1))

    assert [type(fact) for fact in facts] == [WarningRaised]
