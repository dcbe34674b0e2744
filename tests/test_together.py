"""What the layers know of each other, though none imports another."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from sipup_middleware import Health, Limit, RateLimit, ResponseCache, Rule, Stack, Store, by_ip
from tests.asgi import get, lifespan


async def item(request: Request) -> JSONResponse:
    return JSONResponse({"id": request.path_params["id"]})


def wrapped(*layers: Any) -> Starlette:
    app = Starlette(routes=[Route("/items/{id}", item), Mount("/v1", routes=[Route("/items/{id}", item)])])
    app.add_middleware(Stack(Health(), *layers))
    return app


async def routes(app: Starlette) -> dict[str, int]:
    metrics = (await get(app, "/_health/metrics", client="127.0.0.1")).json()
    return {each["route"]: each["count"] for each in metrics["http"]["routes"]}


async def test_a_hit_is_counted_under_the_route_that_once_made_the_answer() -> None:
    app = wrapped(ResponseCache(rules=(Rule(ttl=60),)))

    for path in ("/items/1", "/items/1", "/v1/items/2", "/v1/items/2", "/v1/items/2"):
        await get(app, path)

    assert await routes(app) == {"/items/{id}": 2, "/v1/items/{id}": 3}


async def test_a_hit_from_the_second_tier_is_too(redis_url: str, tmp_path: Any) -> None:
    store = Store(redis_url, runtime_dir=str(tmp_path))
    filling = wrapped(ResponseCache(store=store, rules=(Rule(ttl=60),)))
    asking = wrapped(ResponseCache(store=Store(redis_url, runtime_dir=str(tmp_path)), rules=(Rule(ttl=60),)))

    async with lifespan(filling), lifespan(asking):
        await get(filling, "/items/7")
        reply = await get(asking, "/items/7")

        assert reply.headers["cache-status"].startswith("sipup; hit")
        assert await routes(asking) == {"/items/{id}": 1}


async def test_a_refusal_is_never_stored_and_a_hit_tells_the_quota_of_who_asks() -> None:
    app = wrapped(
        RateLimit(limits=(Limit("2/minute", key=by_ip, name="ip"),)), ResponseCache(rules=(Rule(ttl=60),))
    )

    first = [await get(app, "/items/1", client="192.0.2.1") for _ in range(3)]
    other = await get(app, "/items/1", client="192.0.2.2")

    assert [reply.status for reply in first] == [200, 200, 429]
    assert first[1].headers["ratelimit"].startswith('"ip";r=0;')
    assert other.status == 200
    assert other.headers["cache-status"].startswith("sipup; hit")
    assert other.headers["ratelimit"].startswith('"ip";r=1;')
