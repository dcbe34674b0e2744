from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from sipup_middleware.database import Database, Facade, PoolConfig
from sipup_middleware.services import run_services
from tests.database.servers import Bouncer


@pytest.fixture
def url(database_url: str) -> str:
    """The server's URL, with a password to look for and a name to count backends by."""
    return database_url.replace("postgres@", "postgres:hunter2@") + "&application_name=sipup-test"


@pytest.fixture
async def db(url: str) -> AsyncIterator[Facade]:
    async with Database(url, pool=PoolConfig(min=0, max=5)).open() as db:
        yield db


@pytest.fixture
async def table(db: Facade) -> AsyncIterator[str]:
    await db.execute("CREATE TABLE things (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, name text)")
    yield "things"
    await db.execute("DROP TABLE things")


@pytest.fixture(scope="module")
def bouncer_url() -> Iterator[str]:
    """A PgBouncer before a server of its own."""
    with run_services(valkey=False, environ={}) as services:
        assert services.postgres is not None
        bouncer = Bouncer(services.postgres)
        bouncer.start()
        yield bouncer.url
