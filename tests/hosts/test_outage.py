"""PostgreSQL goes away under each host: whatever it makes of the error that flies, the client is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from anyio.to_thread import run_sync

from sipup_middleware.services import Postgres, run_services
from tests.hosts.apps import CALLED, HOSTS, PROPAGATING, Host, on_their_loops
from tests.hosts.conftest import run_sql
from tests.hosts.shop import SCHEMA, Place
from tests.hosts.visit import is_outage, opened

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of this module's own."""
    with run_services(valkey=False, environ={}) as running:
        assert running.postgres
        run_sql(running.postgres.url, SCHEMA)
        run_sql(running.postgres.url, "INSERT INTO items (name) VALUES ('chair')")
        yield running.postgres


@pytest.fixture
def fragile(place: Place, postgres: Postgres) -> Iterator[Place]:
    """A place whose database may be stopped; it is up again for the next test."""
    yield replace(place, database_url=postgres.url)
    if not postgres.running:
        postgres.start()


@on_their_loops(*HOSTS, *CALLED, PROPAGATING)
async def test_an_outage_that_flies_is_503_while_what_is_stored_is_served(
    host: Host, fragile: Place, postgres: Postgres
) -> None:
    async with opened(host, fragile) as shop:
        before = await shop.get("/items/1")
        await run_sync(postgres.stop)
        hit = await shop.get("/items/1")
        refused = [
            await shop.get("/items/2"),
            await shop.get("/away"),
            await shop.ask("POST", "/items", {"name": "bed"}),
        ]
        ready = await shop.get("/_health/ready")
        counted = await shop.counted()

    assert (before.status, hit.status, ready.status) == (200, 200, 503)
    for reply in refused:
        assert is_outage(reply)
    assert sum(ends.get("5xx", 0) for ends in counted.values()) == 3
    assert sum(ends.get("2xx", 0) for ends in counted.values()) == 2
