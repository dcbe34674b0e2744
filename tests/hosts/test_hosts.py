"""One stack, one suite: what is promised on a bare callable is kept on every host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex

import anyio
import pytest
from starlette.types import Message

from sipup_middleware import Stack
from sipup_middleware.database import Facade
from tests.asgi import Exchange, http_scope
from tests.hosts.apps import CALLED, HOSTS, PROPAGATING, QUART, Host, on_their_loops
from tests.hosts.shop import QUOTA, Place, Shop, new_stack
from tests.hosts.visit import Visit, cache_status, connected, is_outage, opened

pytestmark = pytest.mark.live
NOWHERE = "redis://127.0.0.1:1/0"


@on_their_loops(*HOSTS)
async def test_a_page_is_a_miss_then_a_hit_until_it_is_purged(
    host: Host, place: Place, item: int, db: Facade
) -> None:
    async with opened(host, place) as shop:
        replies = [await shop.get(f"/items/{item}") for _ in range(2)]
        changed = await shop.ask("PUT", f"/items/{item}", {"name": "table"})
        replies += [await shop.get(f"/items/{item}") for _ in range(2)]

    assert [cache_status(each) for each in replies] == ["fwd=uri-miss", "hit"] * 2
    assert [each.json()["name"] for each in replies] == ["chair", "chair", "table", "table"]
    assert (changed.status, changed.json()) == (200, {"id": item, "name": "table"})
    assert await db.fetchval("SELECT name FROM items WHERE id = $1", item) == "table"


@on_their_loops(*HOSTS)
async def test_a_purge_by_tag_reaches_the_page_of_another_item(host: Host, place: Place, item: int) -> None:
    async with opened(host, place) as shop:
        other = (await shop.ask("POST", "/items", {"name": token_hex()})).json()["id"]
        await shop.get(f"/items/{item}")
        hit = await shop.get(f"/items/{item}")
        await shop.ask("PUT", f"/items/{other}", {"name": "table"})
        purged = await shop.get(f"/items/{item}")

    assert [cache_status(each) for each in (hit, purged)] == ["hit", "fwd=uri-miss"]


@on_their_loops(*HOSTS)
async def test_each_answer_tells_the_quota_and_one_too_many_is_refused(
    host: Host, place: Place, item: int
) -> None:
    async with opened(host, place) as shop:
        replies = [await shop.get(f"/items/{item}") for _ in range(QUOTA + 1)]
        live = await shop.get("/_health/live")

    *served, refused = replies
    left = [each.headers["ratelimit"].split(";")[1] for each in served]
    assert {each.status for each in served} == {200}
    assert left == [f"r={QUOTA - 1 - number}" for number in range(QUOTA)]
    assert (refused.status, refused.headers["content-type"]) == (429, "application/problem+json")
    assert int(refused.headers["retry-after"]) > 0
    assert live.status == 200


@on_their_loops(*HOSTS)
async def test_health_tells_of_every_layer_and_knows_the_hosts_routes(
    host: Host, place: Place, item: int
) -> None:
    async with opened(host, place) as shop:
        for _ in range(2):
            await shop.get(f"/items/{item}")
        await shop.get("/nothing/here")
        await shop.ask("POST", "/items", {"name": token_hex()})
        live, ready = await shop.get("/_health/live"), await shop.get("/_health/ready")
        metrics = await shop.metrics()
        counted = await shop.counted()

    checks = {name: check["status"] for name, (check,) in ready.json()["checks"].items()}
    assert live.json() == {"status": "pass"}
    assert (ready.status, ready.json()["status"]) == (200, "warn")
    assert checks.pop("jobs:workers") == "warn", "nobody runs the jobs"
    assert {"ratelimit:storage", "postgres:ping", "jobs:oldest"} <= checks.keys()
    assert set(checks.values()) == {"pass"}
    assert counted["GET", host.label] == {"2xx": 2}
    assert counted["GET", "__unmatched__"] == {"4xx": 1}
    assert metrics["db"]["pool"]["max"] == 4
    assert metrics["db"]["queries_total"] == 3
    assert metrics["jobs"]["queues"]["normal"]["queued"] == 1
    assert metrics["cache"]["hits"] == 1


@on_their_loops(*HOSTS)
async def test_an_order_that_is_committed_has_its_job(host: Host, place: Place, db: Facade) -> None:
    async with opened(host, place) as shop:
        reply = await shop.ask("POST", "/items", {"name": token_hex()})
        job = await shop.job(reply.json()["job"])

    assert reply.status == 200
    assert job is not None
    assert job.status == "queued"
    assert await db.fetchval("SELECT count(*) FROM items WHERE id = $1", reply.json()["id"]) == 1


@on_their_loops(*HOSTS, *CALLED, PROPAGATING)
async def test_an_order_that_is_rolled_back_leaves_neither_row_nor_job(
    host: Host, place: Place, db: Facade
) -> None:
    name = token_hex()

    async with opened(host, place) as shop:
        await shop.ask_in_spite("POST", "/items", {"name": name, "fail": True})
        jobs = await db.fetchval("SELECT count(*) FROM sipup.saq_jobs WHERE queue = $1", place.name)
        rows = await db.fetchval("SELECT count(*) FROM items WHERE name = $1", name)
        again = await shop.ask("POST", "/items", {"name": name})
        made = await shop.job(again.json()["job"])

    assert (jobs, rows) == (0, 0)
    assert (again.status, made is not None) == (200, True)


@on_their_loops(*HOSTS, *CALLED, PROPAGATING)
async def test_an_error_is_counted_once_and_never_answered_twice(host: Host, place: Place) -> None:
    async with opened(host, place) as shop:
        await shop.ask_in_spite("GET", "/boom")
        counted = await shop.counted()

    assert [*counted.values()] == [{"5xx": 1}]


@on_their_loops(QUART, *CALLED)
async def test_a_hosts_own_answer_to_an_error_tells_the_quota(host: Host, place: Place) -> None:
    async with opened(host, place) as shop:
        reply = await shop.ask_in_spite("GET", "/boom")

    assert reply.status == 500
    assert f";r={QUOTA - 1};" in reply.headers["ratelimit"]


@on_their_loops(*HOSTS, *CALLED, PROPAGATING)
async def test_a_queue_that_is_away_is_503_and_costs_the_order(host: Host, place: Place, db: Facade) -> None:
    name = token_hex()

    async with opened(host, place, jobs_url=NOWHERE) as shop:
        replies = [await shop.get("/away"), await shop.ask("POST", "/items", {"name": name})]
        counted = await shop.counted()

    for reply in replies:
        assert is_outage(reply)
    assert [*counted.values()] == [{"5xx": 1}] * 2
    assert await db.fetchval("SELECT count(*) FROM items WHERE name = $1", name) == 0


@on_their_loops(*HOSTS)
async def test_a_stream_passes_chunk_by_chunk(host: Host, place: Place) -> None:
    heard = anyio.Semaphore(0)
    exchange = Exchange()

    async def send(message: Message) -> None:
        await exchange.send(message)
        if message.get("body"):
            heard.release()

    async with opened(host, place, shop=Shop(pace=heard.acquire)) as shop:
        with anyio.fail_after(10):
            await shop.app(http_scope("/stream"), exchange.receive, send)

    assert [chunk for chunk in exchange.chunks if chunk] == [b"tick 0\n", b"tick 1\n", b"tick 2\n"]
    assert exchange.finished.is_set()


@on_their_loops(*HOSTS)
async def test_a_websocket_is_served_and_keeps_no_connection_between_its_messages(
    host: Host, place: Place, item: int
) -> None:
    in_use = []

    async with opened(host, place) as shop, connected(shop) as socket:
        for _ in range(2):
            assert await socket.ask(str(item)) == {"id": item, "name": "chair"}
            in_use.append((await shop.metrics())["db"]["pool"]["in_use"])

    assert in_use == [0, 0]


@on_their_loops(*HOSTS, *CALLED)
async def test_without_lifespan_every_layer_opens_when_it_is_asked(
    host: Host, place: Place, item: int
) -> None:
    stack = new_stack(place)
    shop = Visit(host.wrapped(stack), stack)

    async with closing(stack):
        replies = [await shop.get(f"/items/{item}")]
        with anyio.fail_after(20):  # the store keeps nothing before it hears of other hosts' purges
            while cache_status(replies[-1]) != "hit":
                await anyio.sleep(0.1)
                replies.append(await shop.get(f"/items/{item}"))
        order = await shop.ask("POST", "/items", {"name": token_hex()})
        job = await shop.job(order.json()["job"])
        ready = await shop.get("/_health/ready")

    assert {cache_status(each) for each in replies[:-1]} == {"fwd=uri-miss"}
    assert job is not None
    assert ready.status == 200


@asynccontextmanager
async def closing(stack: Stack) -> AsyncIterator[None]:
    """Close what opened without a lifespan now, instead of at the process's end."""
    try:
        yield
    finally:
        for layer in stack.layers:
            opening = getattr(layer, "_opening", None)
            if opening is not None and (handle := opening.handle) is not None:
                await opening._home.call(handle.aclose)
