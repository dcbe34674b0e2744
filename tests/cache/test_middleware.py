"""What a client gets that asks again."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from sipup_middleware.cache import ResponseCache, Rule
from sipup_middleware.store import Store
from sipup_middleware.telemetry import Telemetry
from tests.asgi import Exchange, get, hello, http_scope, lifespan, request
from tests.cache.apps import FRESH, Counting, Scripted, cached, timed

VALIDATED = (
    FRESH,
    ("etag", '"a"'),
    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("content-type", "a/b"),
)


async def test_4_a_fresh_answer_is_given_without_the_app() -> None:
    app = Scripted()
    wrapped = cached(app)

    first, second = await get(wrapped), await get(wrapped)

    assert app.calls == 1
    assert (first.status, first.chunks) == (200, [b"hel", b"lo"])
    assert (second.status, second.body) == (200, b"hello")
    assert first.headers["cache-status"] == "sipup; fwd=uri-miss; stored"
    assert second.headers["cache-status"].startswith("sipup; hit; ttl=")
    assert second.headers["content-length"] == "5"


async def test_4_head_is_answered_from_a_stored_get() -> None:
    app = Scripted()
    wrapped = cached(app)
    await get(wrapped)

    reply = await request(wrapped, method="HEAD")

    assert app.calls == 1
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "5")


async def test_3_head_alone_is_passed_on_and_not_stored() -> None:
    app = Scripted(chunks=(b"",))
    wrapped = cached(app)

    replies = [await request(wrapped, method="HEAD") for _ in range(2)]

    assert app.calls == 2
    assert [reply.headers["cache-status"] for reply in replies] == ["sipup; fwd=uri-miss"] * 2


async def test_duplicate_lines_order_and_bytes_are_kept() -> None:
    app = Scripted(
        headers=[
            ("X-B", "1"),
            FRESH,
            ("x-a", "caf\xe9"),
            ("X-B", "2"),
            ("content-length", "5"),
            ("link", "</a>, </b>"),
        ]
    )
    wrapped = cached(app)
    first = await get(wrapped)

    second = await get(wrapped)

    assert second.raw_headers[:-2] == first.raw_headers[:-1]
    assert second.raw_headers[0] == (b"X-B", b"1")


async def test_4_2_3_age_is_what_it_was_on_arrival_and_what_it_lay_here() -> None:
    now = 784111787.0
    app = Scripted(
        headers=[("cache-control", "max-age=60"), ("age", "20"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")]
    )
    wrapped = timed(app, lambda: now)
    first = await get(wrapped)
    now += 7.5

    second = await get(wrapped)

    assert first.headers["age"] == "20"
    assert [value for name, value in second.raw_headers if name == b"age"] == [b"27"]
    assert second.headers["cache-status"] == "sipup; hit; ttl=32"
    assert second.headers["date"] == first.headers["date"]


async def test_the_clock_going_back_makes_no_negative_age() -> None:
    now = 784111787.0
    wrapped = timed(Scripted(), lambda: now)
    await get(wrapped)
    now -= 3600

    reply = await get(wrapped)

    assert reply.headers["age"] == "0"


@pytest.mark.parametrize(
    "header",
    [
        ("If-None-Match", '"a"'),
        ("If-None-Match", 'W/"a", "b"'),
        ("If-None-Match", "*"),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("If-Modified-Since", "Sunday, 06-Nov-94 08:49:38 GMT"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_4_3_2_who_has_it_gets_304_from_the_store(header: tuple[str, str], method: str) -> None:
    app = Scripted(headers=VALIDATED)
    wrapped = cached(app)
    await get(wrapped)

    reply = await request(wrapped, method=method, headers=[header])

    assert app.calls == 1
    assert (reply.status, reply.body) == (304, b"")
    assert reply.headers.keys() == {"cache-control", "etag", "last-modified", "age", "cache-status"}


async def test_4_3_2_who_has_another_gets_the_whole_from_the_store() -> None:
    app = Scripted(headers=VALIDATED)
    wrapped = cached(app)
    await get(wrapped)

    reply = await get(wrapped, headers=[("If-None-Match", '"b"'), ("If-Modified-Since", VALIDATED[2][1])])

    assert (app.calls, reply.status, reply.body) == (1, 200, b"hello")


async def test_13_2_1_of_rfc_9110_preconditions_count_only_for_a_success() -> None:
    app = Scripted(headers=VALIDATED, status=404)
    wrapped = cached(app)
    await get(wrapped)

    reply = await get(wrapped, headers=[("If-None-Match", "*")])

    assert (app.calls, reply.status) == (1, 404)


async def test_entries_are_immune_to_mutation() -> None:
    wrapped = cached(Scripted())
    await get(wrapped)

    async def send(message: Message) -> None:
        message.get("headers", []).clear()
        message["body"] = b"other"

    for _ in range(2):
        await wrapped(http_scope(), Exchange().receive, send)

    reply = await get(wrapped)
    assert (reply.body, reply.headers["cache-control"]) == (b"hello", "max-age=60")


async def test_the_app_s_message_and_the_server_s_scope_are_not_touched() -> None:
    headers = [(b"cache-control", b"max-age=60")]
    start = {"type": "http.response.start", "status": 200, "headers": headers}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send({"type": "http.response.body"})

    extensions: dict[str, Any] = {"http.response.pathsend": {}, "tls": {}}
    scope = http_scope(extensions=extensions)
    await cached(app)(scope, Exchange().receive, Exchange().send)

    assert start["headers"] == [(b"cache-control", b"max-age=60")]
    assert scope["extensions"] is extensions
    assert extensions == {"http.response.pathsend": {}, "tls": {}}
    assert "sipup" not in scope


async def test_file_sending_is_withheld_only_where_storing_is_possible() -> None:
    app = Scripted()
    extensions: dict[str, Any] = {"http.response.pathsend": {}, "http.response.zerocopysend": {}, "tls": {}}
    wrapped = cached(app)

    await get(wrapped, extensions=extensions)
    storable = app.scope["extensions"]
    await get(wrapped, extensions=extensions, headers=[("If-Match", "*")])
    bypassing = app.scope["extensions"]

    assert storable == {"tls": {}}
    assert bypassing == extensions


async def test_an_app_that_sends_a_file_all_the_same_is_passed_on() -> None:
    file = {"type": "http.response.pathsend", "path": "/tmp/x"}  # noqa: S108 (nobody opens it)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]}
        )
        await send(file)

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    wrapped = cached(app)
    for _ in range(2):
        await wrapped(http_scope(), Exchange().receive, send)

    assert [message for message in sent if message["type"] != "http.response.start"] == [file, file]


async def test_a_websocket_passes_untouched() -> None:
    seen = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    scope: Any = {"type": "websocket"}
    receive: Any = object()
    send: Any = object()
    await cached(inner)(scope, receive, send)

    assert seen == [(scope, receive, send)]


async def test_the_lifespan_opens_the_store_and_stored_answers_end_with_it() -> None:
    wrapped = cached(Counting())
    bodies = []

    for _ in range(2):
        async with lifespan(wrapped):
            bodies += [(await get(wrapped)).body for _ in range(2)]

    assert bodies == [b"1", b"1", b"2", b"2"]


async def test_a_cache_within_a_cache_waits_for_nobody() -> None:
    app = Scripted()
    store = Store()
    wrapped = cached(cached(app, store=store), store=store)

    first, second = await get(wrapped), await get(wrapped)

    assert (first.body, second.body, app.calls) == (b"hello", b"hello", 1)
    assert [value for name, value in first.raw_headers if name == b"cache-status"] == [
        b"sipup; fwd=uri-miss; stored"
    ]


async def test_cache_status_can_be_switched_off() -> None:
    wrapped = cached(Scripted(), name=None)

    replies = [await get(wrapped), await get(wrapped), await request(wrapped, method="POST")]

    assert ["cache-status" in reply.headers for reply in replies] == [False] * 3


async def test_what_happens_is_counted() -> None:
    telemetry = Telemetry()
    wrapped = cached(Scripted(), Rule("/q", ttl=1), telemetry=telemetry)

    await get(wrapped)
    await get(wrapped)
    await get(wrapped, headers=[("If-Match", "*")])
    await get(wrapped, "/q", query="a=1")
    await request(wrapped, method="OPTIONS")

    def counted(name: str) -> dict[str, int]:
        return {"".join(labels.values()): counter.value for labels, counter in telemetry.counters(name)}

    assert counted("cache.requests") == {"hit": 1, "stale": 0, "miss": 1, "revalidated": 0, "bypass": 3}
    assert counted("cache.bypass") == {"precondition": 1, "query": 1, "method": 1}
    assert counted("cache.stored") == {"": 1}


async def test_a_handler_may_speak_of_storing_whatever_the_method() -> None:
    async def tagging(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["sipup"].response.tag("product:7").ttl(60)
        await hello(scope, receive, send)

    app = ResponseCache()(tagging)

    replies = [await request(app, method=method) for method in ("HEAD", "POST", "GET")]

    assert [reply.status for reply in replies] == [200, 200, 200]
