"""The shadow mode and samples of hits: the app answers, and what the store would have sent is compared."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from sipup_middleware.cache import ResponseCache, Rule
from sipup_middleware.telemetry import Telemetry, WarningRaised
from tests.asgi import get, request
from tests.cache.apps import FRESH, Counting, Origin, Scripted

SHADOW: dict[str, Any] = {"mode": "shadow"}


def compared(telemetry: Telemetry) -> dict[str, int]:
    return {labels["outcome"]: counter.value for labels, counter in telemetry.counters("cache.shadow")}


def watched(app: ASGIApp, facts: list[Any], **options: Any) -> tuple[ASGIApp, Telemetry]:
    telemetry = Telemetry([facts.append])
    rules = (Rule("/products/{id}", ttl=60),)
    return ResponseCache(rules=rules, **options)(app, telemetry=telemetry), telemetry


async def test_47_a_stored_answer_is_never_served_in_the_shadow() -> None:
    app = Counting()
    wrapped, telemetry = watched(app, [], **SHADOW)

    replies = [await get(wrapped) for _ in range(3)]
    head = await request(wrapped, method="HEAD")
    part = await get(wrapped, headers=[("range", "bytes=0-0")])

    assert [reply.body for reply in replies] == [b"1", b"2", b"3"]
    assert (app.calls, head.status, part.status) == (5, 200, 200)
    assert [reply.headers["cache-status"] for reply in replies] == [
        "sipup; fwd=uri-miss; stored",
        *["sipup; fwd=bypass; detail=shadow"] * 2,
    ]
    assert compared(telemetry) == {"equal": 0, "different": 2}


async def test_47_a_hit_that_would_have_been_right_is_counted_and_not_told() -> None:
    facts: list[Any] = []
    wrapped, telemetry = watched(Scripted(), facts, **SHADOW)

    for _ in range(3):
        await get(wrapped)

    assert compared(telemetry) == {"equal": 2, "different": 0}
    assert facts == []


async def test_47_a_planted_missing_tag_is_found_and_its_route_named_once() -> None:
    prices = {"7": "1"}

    async def product(request: Request) -> PlainTextResponse:
        name = request.path_params["id"]
        if request.method == "PUT":
            prices[name] = "2"  # and forgets to purge the page below
            return PlainTextResponse("")
        return PlainTextResponse(prices[name])

    app = Starlette(
        routes=[
            Route("/products/{id}", product),
            Route("/admin/{id}", product, methods=["PUT"]),
        ]
    )
    facts: list[Any] = []
    wrapped, telemetry = watched(app, facts, **SHADOW)
    await get(wrapped, "/products/7")

    await request(wrapped, "/admin/7", method="PUT")
    bodies = [(await get(wrapped, "/products/7")).body for _ in range(3)]

    assert bodies == [b"2"] * 3
    assert compared(telemetry) == {"equal": 0, "different": 3}
    assert [(fact.layer, fact.message) for fact in facts if isinstance(fact, WarningRaised)] == [
        ("cache", "a stored answer of /products/{id} differs from the app's in its body")
    ]


async def test_in_the_shadow_every_miss_asks_for_itself_and_an_error_is_not_covered() -> None:
    told = ("cache-control", "max-age=0, stale-while-revalidate=60, stale-if-error=60")
    app = Origin([(200, [told, ("etag", '"a"')], b"old"), (503, [], b"down")])
    wrapped, _ = watched(app, [], **SHADOW)

    replies = [await get(wrapped) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 503]
    assert app.asked(1) == {}


@pytest.mark.parametrize(("sample", "calls"), [(1.0, 3), (0.0, 1)])
async def test_a_sample_of_the_hits_is_compared_and_what_differs_is_forgotten(
    sample: float, calls: int
) -> None:
    app = Scripted()
    wrapped, telemetry = watched(app, [], sample=sample)

    for _ in range(3):
        await get(wrapped)
    counted = compared(telemetry)
    app.headers = [FRESH, ("x-new", "1")]
    await get(wrapped)
    last = await get(wrapped)

    assert app.calls == (calls + 2 if sample else 1)
    assert counted == ({"equal": 2, "different": 0} if sample else {})
    assert last.headers["cache-status"].endswith("stored" if sample else "ttl=60") or not sample


async def test_a_body_that_goes_on_beyond_every_stored_one_is_another() -> None:
    app = Scripted(chunks=[b"1234"])
    wrapped, telemetry = watched(app, [], max_entry=8, **SHADOW)
    await get(wrapped)
    app.chunks = [b"1234"] * 9

    await get(wrapped)

    assert compared(telemetry) == {"equal": 0, "different": 1}
