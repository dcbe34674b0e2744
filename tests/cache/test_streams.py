"""Bodies pass on as they come; only a whole one is stored."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from sipup_middleware.cache import Rule
from sipup_middleware.cache.policy import House
from tests.asgi import Exchange, get, http_scope, request
from tests.cache.apps import FRESH, Clock, Origin, Scripted, cached, timed


@pytest.mark.parametrize("storable", [True, False])
async def test_every_message_reaches_the_client_before_the_app_sends_the_next(*, storable: bool) -> None:
    sent: list[Message] = []
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"cache-control", b"max-age=60" if storable else b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(3):
            seen.append(len(sent))
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body"})

    async def send(message: Message) -> None:
        sent.append(message)

    await cached(app)(http_scope(), Exchange().receive, send)

    assert seen == [1, 2, 3]
    assert [message.get("body") for message in sent] == [None, b"x", b"x", b"x", None]


@pytest.mark.parametrize("declared", [[], [("content-length", "12")]])
async def test_a_body_over_max_entry_streams_on_and_is_not_stored(declared: list[tuple[str, str]]) -> None:
    app = Scripted(headers=[FRESH, *declared], chunks=[b"1234"] * 3)
    wrapped = cached(app, max_entry=11)

    replies = [await get(wrapped) for _ in range(2)]

    assert app.calls == 2
    assert [reply.chunks for reply in replies] == [[b"1234"] * 3] * 2


async def test_a_body_of_just_max_entry_is_stored() -> None:
    app = Scripted(chunks=[b"1234"] * 3)
    wrapped = cached(app, max_entry=12)

    await get(wrapped)
    reply = await get(wrapped)

    assert (app.calls, reply.body) == (1, b"1234" * 3)


@pytest.mark.parametrize("length", ["4", "6"])
async def test_a_body_of_another_length_than_declared_is_not_stored(length: str) -> None:
    app = Scripted(headers=[FRESH, ("content-length", length)])
    wrapped = cached(app)

    await get(wrapped)
    await get(wrapped)

    assert app.calls == 2


async def test_an_app_that_dies_in_its_body_stores_nothing() -> None:
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]}
        )
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("the app is broken")

    wrapped = cached(app)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            await get(wrapped)

    assert calls == 2


async def test_a_client_that_goes_in_the_middle_stores_nothing() -> None:
    app = Scripted()
    wrapped = cached(app)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await wrapped(http_scope(), Exchange().receive, send)
    reply = await get(wrapped)

    assert (app.calls, reply.body) == (2, b"hello")


async def test_what_the_app_does_after_its_answer_does_not_undo_the_storing() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Scripted().respond(send)
        raise RuntimeError("in a background task")

    wrapped = cached(app)
    with pytest.raises(RuntimeError, match="background"):
        await get(wrapped)

    assert (await get(wrapped)).headers["cache-status"].startswith("sipup; hit")


async def test_the_copies_of_all_bodies_together_are_bounded() -> None:
    piece = b"x" * (8 << 20)
    rest = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]}
        )
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await rest.wait()
        await send({"type": "http.response.body"})

    wrapped = cached(app, max_entry=16 << 20)
    replies: list[Exchange] = []

    async def one(path: str) -> None:
        replies.append(await get(wrapped, path))

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(one, f"/{number}")
        while len(replies) < 10:
            await anyio.lowlevel.checkpoint()
            rest.set()
    again = [(await get(wrapped, f"/{number}")).headers["cache-status"] for number in range(10)]

    assert sum(told.startswith("sipup; hit") for told in again) == 8


NAMES = st.sampled_from(
    [
        "cache-control",
        "vary",
        "age",
        "date",
        "expires",
        "etag",
        "last-modified",
        "content-length",
        "connection",
    ]
)
ASKED = st.sampled_from(
    [
        "if-none-match",
        "if-modified-since",
        "cache-control",
        "cookie",
        "authorization",
        "accept",
        "if-range",
        "pragma",
        "range",
        "host",
    ]
)
TELLING = st.sampled_from(
    [
        "no-cache",
        "max-age=0",
        "max-age=60, stale-while-revalidate=9, stale-if-error=9",
        'private="a"',
        '"a"',
        'W/"a"',
        "*",
        "bytes=0-1",
        "bytes=9-",
        "Sun, 06 Nov 1994 08:49:37 GMT",
    ]
)
HEADERS = st.lists(
    st.tuples(NAMES, TELLING | st.text(alphabet=st.characters(max_codepoint=255), max_size=20)), max_size=5
)
QUESTIONS = st.lists(
    st.tuples(ASKED, TELLING | st.text(alphabet=st.characters(max_codepoint=255), max_size=20)), max_size=5
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(headers=HEADERS, asked=QUESTIONS, query=st.binary(max_size=20))
async def test_no_header_bytes_ever_raise(
    headers: list[tuple[str, str]], asked: list[tuple[str, str]], query: bytes
) -> None:
    wrapped = cached(Scripted(headers=headers), Rule("/*", ttl=60, query=("a",)))

    for method in ("GET", "GET", "HEAD", "POST"):
        reply = await request(wrapped, method=method, headers=asked, query_string=query)
        assert reply.status in {200, 206, 304, 416}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(headers=HEADERS, later=HEADERS, asked=QUESTIONS, status=st.sampled_from([200, 304, 404, 503]))
async def test_no_header_bytes_raise_when_a_stale_answer_is_asked_about(
    headers: list[tuple[str, str]], later: list[tuple[str, str]], asked: list[tuple[str, str]], status: int
) -> None:
    app, clock = Origin([(200, headers, b"hello"), (status, later, b"other")]), Clock()
    wrapped = timed(
        app,
        clock,
        Rule("/*", ttl=60, stale=5),
        honors_clients=True,
        house=House(heuristic=0.1, stale_if_error=5.0),
    )

    for method in ("GET", "HEAD", "GET", "GET"):
        reply = await request(wrapped, method=method, headers=asked)
        assert reply.status in {200, 206, 304, 404, 416, 503}
        clock.now += 61
