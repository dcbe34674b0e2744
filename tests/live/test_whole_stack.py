"""The whole stack on a real PostgreSQL and Valkey, mounted and asked in unusual ways."""

from __future__ import annotations

from secrets import token_hex

import anyio
import pytest
from starlette.testclient import TestClient

from sipup_middleware.services import Services
from tests.asgi import Exchange, get, lifespan
from tests.live.test_outages import wrapped

pytestmark = pytest.mark.live


async def test_a_client_that_waits_as_long_as_it_was_told_is_served(services: Services) -> None:
    app = wrapped(services, limit="3/second")
    client = token_hex()  # the server is shared, and remembers the others

    async def ask() -> Exchange:
        return await get(app, "/fresh", headers=[("x-client", client)])

    async with lifespan(app):
        replies = [await ask() for _ in range(8)]
        refused = [reply for reply in replies if reply.status == 429]
        await anyio.sleep(int(refused[-1].headers["retry-after"]))
        served = await ask()

    assert replies[0].status == 200
    assert served.status == 200


def test_without_lifespan_each_request_may_come_on_a_loop_of_its_own(services: Services) -> None:
    app = wrapped(services)

    replies = [
        anyio.run(get, app, path, backend=backend)
        for backend in ("asyncio", "trio", "asyncio", "trio")
        for path in ("/fresh", "/cached/9")
    ]

    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies[::2]}) == 4
    assert len({reply.body for reply in replies[1::2]}) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_starlettes_test_client_works_with_and_without_lifespan(backend: str, services: Services) -> None:
    app = wrapped(services)

    bare = TestClient(app, backend=backend)  # type: ignore[arg-type]  # its Literal
    assert [bare.get("/fresh").status_code for _ in range(3)] == [200] * 3
    with TestClient(app, backend=backend) as client:  # type: ignore[arg-type]  # its Literal
        assert [client.get("/fresh").status_code for _ in range(3)] == [200] * 3
    assert bare.get("/fresh").status_code == 200
