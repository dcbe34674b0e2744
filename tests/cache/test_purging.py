"""What was changed is asked for again: by unsafe methods (RFC 9111, section 4.4) and by hand."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from sipup_middleware.cache import ResponseCache, Rule
from sipup_middleware.telemetry import Telemetry
from tests.asgi import get, request
from tests.cache.apps import FRESH, Counting, Scripted, cached


class Shop(Counting):
    """GET counts; any other method answers with ``reply`` and the headers ``told``."""

    reply = 200
    told: tuple[tuple[str, str], ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET":
            await super().__call__(scope, receive, send)
        else:
            await Scripted(status=self.reply, headers=self.told).respond(send)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "UNHEARD-OF"])
async def test_4_4_an_unsafe_method_purges_its_url_with_all_queries(method: str) -> None:
    wrapped = cached(Shop())
    for query in ("", "a=1"):
        await get(wrapped, "/a", query=query)
    await get(wrapped, "/b")

    reply = await request(wrapped, "/a", method=method, query="z=9")

    assert reply.headers["cache-status"] == "sipup; fwd=method"
    assert [(await get(wrapped, "/a", query=query)).body for query in ("", "a=1")] == [b"4", b"5"]
    assert (await get(wrapped, "/b")).body == b"3"


@pytest.mark.parametrize(
    ("method", "status"), [("POST", 500), ("POST", 404), ("OPTIONS", 200), ("TRACE", 200)]
)
async def test_4_4_an_error_or_a_safe_method_purges_nothing(method: str, status: int) -> None:
    app = Shop()
    app.reply = status
    wrapped = cached(app)
    await get(wrapped)

    await request(wrapped, method=method)

    assert (await get(wrapped)).body == b"1"


@pytest.mark.parametrize("name", ["location", "content-location"])
@pytest.mark.parametrize(
    ("link", "purged"), [("/new", True), ("http://testserver/new", True), ("//evil/new", False)]
)
async def test_4_4_what_is_linked_on_the_same_origin_is_purged(name: str, link: str, *, purged: bool) -> None:
    app = Shop()
    app.reply, app.told = 303, ((name, link),)
    wrapped = cached(app)
    await get(wrapped, "/new")

    await request(wrapped, "/list", method="POST")

    assert (await get(wrapped, "/new")).body == (b"2" if purged else b"1")


@pytest.mark.parametrize(
    ("purge", "left"),
    [
        ({"tags": ["product:7"]}, [b"4", b"2", b"3"]),
        ({"url": "/products/7"}, [b"4", b"2", b"3"]),
        ({"prefix": "/products/"}, [b"4", b"5", b"3"]),
        ({"prefix": "/"}, [b"4", b"5", b"6"]),
        ({"tags": ["product:9"]}, [b"1", b"2", b"3"]),
    ],
)
async def test_a_purge_takes_what_it_names_and_nothing_else(purge: dict[str, Any], left: list[bytes]) -> None:
    layer = ResponseCache(rules=(Rule("/products/{id}", ttl=60, tags=("product:{id}",)), Rule("/*", ttl=60)))
    wrapped = layer(Counting(headers=()))
    paths = ["/products/7", "/products/8", "/about"]

    async with layer.open() as store:
        for path in paths:
            await get(wrapped, path)
        await store.invalidate(**purge)
        bodies = [(await get(wrapped, path)).body for path in paths]

    assert bodies == left


async def test_the_tags_of_a_rule_count_for_answers_that_declare_their_lifetime_too() -> None:
    layer = ResponseCache(rules=(Rule("/products/{id}", ttl=60, tags=("product:{id}",)),))
    wrapped = layer(Counting())

    async with layer.open() as store:
        await get(wrapped, "/products/7")
        await store.invalidate(tags=["product:7"])
        assert (await get(wrapped, "/products/7")).body == b"2"


async def test_a_variant_is_purged_and_the_others_too() -> None:
    layer = ResponseCache()
    wrapped = layer(Counting(headers=[FRESH, ("vary", "accept")]))

    async with layer.open() as store:
        for name in "ab":
            await get(wrapped, headers=[("accept", name)])
        await store.invalidate(url="/")
        bodies = [(await get(wrapped, headers=[("accept", name)])).body for name in "abab"]

    assert bodies == [b"3", b"4", b"3", b"4"]


async def test_clear_forgets_everything() -> None:
    layer = ResponseCache()
    wrapped = layer(Counting())

    async with layer.open() as store:
        await get(wrapped)
        await store.clear()
        assert (await get(wrapped)).body == b"2"


@pytest.mark.parametrize(
    "purge", [{"tags": ["late"]}, {"tags": ["collected"]}, {"url": "/"}, {"prefix": "/"}]
)
async def test_a_purge_during_a_fill_keeps_the_old_value_away(purge: dict[str, Any]) -> None:
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        context = scope["sipup"]
        context.tags.add("collected")  # as a database layer does for the rows that it reads
        if calls == 1:
            await context.store.invalidate(**purge)  # as another request does that changes them meanwhile
        context.response.tag("late")
        await Scripted(chunks=[b"%d" % calls]).respond(send)

    wrapped = cached(app)

    assert [(await get(wrapped)).body for _ in range(3)] == [b"1", b"2", b"2"]


async def test_what_a_handler_tagged_is_purged_by_another_handler() -> None:
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        sipup = scope["state"]["sipup"]
        if scope["method"] == "PUT":
            await sipup.store.invalidate(tags=["product:7"])
        else:
            sipup.response.tag(*(["product:7"] if scope["path"] != "/c" else []))
        await Scripted(chunks=[b"%d" % calls]).respond(send)

    telemetry = Telemetry()
    wrapped = cached(app, telemetry=telemetry)
    for path in "abc":
        await get(wrapped, f"/{path}")

    await request(wrapped, "/other", method="PUT")

    assert [(await get(wrapped, f"/{path}")).body for path in "abc"] == [b"5", b"6", b"3"]
    assert sum(counter.value for _, counter in telemetry.counters("cache.purges")) >= 1
