"""A server of the test's own goes away under load, and comes back."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from sipup_middleware.database import Database, Facade, PoolConfig, current
from sipup_middleware.services import Services
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact, Telemetry
from tests.asgi import get, lifespan
from tests.database.test_middleware import bare

pytestmark = pytest.mark.live

IN_A_ROW = 500
"""Answers without an error between them that count as recovered."""


async def read(db: Facade) -> object:
    assert db is current()
    return await db.fetchval("SELECT count(*) FROM pg_class")


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_under_load_a_restart_is_503_and_over_when_the_server_is_back(
    own_services: Services, how: str
) -> None:
    postgres = own_services.postgres
    assert postgres is not None
    facts: list[Fact] = []
    statuses: Counter[int] = Counter()
    good = 0
    app = Database(postgres.url, pool=PoolConfig(min=2, max=10))(
        bare(read), telemetry=Telemetry(observers=[facts.append])
    )

    async def client() -> None:
        nonlocal good
        while True:
            reply = await get(app)
            statuses[reply.status] += 1
            good = good + 1 if reply.status == 200 else 0
            await anyio.sleep(0.002)

    async def recovered() -> None:
        nonlocal good
        good = 0
        with anyio.fail_after(10):
            while good < IN_A_ROW:  # noqa: ASYNC110 (it polls)
                await anyio.sleep(0.01)

    async def noticed() -> None:
        """A restart of some milliseconds may pass unseen: plain reads run again."""
        with anyio.fail_after(10):
            while not statuses[503]:  # noqa: ASYNC110 (it polls)
                await anyio.sleep(0.01)

    async with lifespan(app), anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(client)
        await recovered()
        await anyio.to_thread.run_sync(getattr(postgres, how))
        await noticed()
        await anyio.to_thread.run_sync(postgres.start)
        await recovered()
        tasks.cancel_scope.cancel()

    assert set(statuses) == {200, 503}
    assert [type(fact) for fact in facts] == [BackendLost, BackendRestored] * (len(facts) // 2)
