from __future__ import annotations

import pytest
from starlette.types import Message

from sipup_middleware.asgi import Problem, header, with_headers
from tests.asgi import Exchange, http_scope

REQUEST = "0af7651916cd43dd8448eb211c80319c"


def test_header_is_the_first_of_its_name() -> None:
    scope = http_scope(headers=[("X-One", "1"), ("X-Two", "2"), ("x-two", "3")])

    assert header(scope, b"x-two") == b"2"
    assert header(scope, b"x-three") is None


async def test_with_headers_adds_to_the_start_and_changes_no_message() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"1")]}
    body: Message = {"type": "http.response.body", "body": b""}
    adding = with_headers(send, [(b"b", b"2")])
    await adding(start)
    await adding(body)

    assert sent[0]["headers"] == [(b"a", b"1"), (b"b", b"2")]
    assert sent[1] is body
    assert start["headers"] == [(b"a", b"1")]


async def test_with_headers_takes_a_start_without_headers() -> None:
    exchange = Exchange()

    await with_headers(exchange.send, [(b"b", b"2")])({"type": "http.response.start", "status": 204})

    assert exchange.raw_headers == [(b"b", b"2")]


async def test_a_problem_is_rfc_9457_and_never_stored() -> None:
    problem = Problem(
        status=429, title="Slow", type="urn:x", detail='"why"', headers=((b"retry-after", b"3"),)
    )
    exchange = Exchange()

    await problem.send(http_scope(), exchange.send, instance=REQUEST, extra=[(b"x-extra", b"1")])

    assert exchange.json() == {
        "type": "urn:x",
        "title": "Slow",
        "status": 429,
        "detail": '"why"',
        "instance": REQUEST,
    }
    assert exchange.headers == {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
        "retry-after": "3",
        "content-length": str(len(exchange.body)),
        "x-extra": "1",
    }


@pytest.mark.parametrize(("method", "empty"), [("GET", False), ("POST", False), ("HEAD", True)])
async def test_only_head_gets_a_problem_without_its_body(method: str, *, empty: bool) -> None:
    exchange = Exchange()

    await Problem(status=503, title="Gone").send(http_scope(method=method), exchange.send, instance=REQUEST)

    assert (exchange.body == b"") is empty
    assert int(exchange.headers["content-length"]) > 0


async def test_a_problem_is_sent_twice_with_nothing_left_over() -> None:
    problem = Problem(status=503, title="Gone")
    replies = []

    for instance in (REQUEST, REQUEST[::-1]):
        exchange = Exchange()
        await problem.send(http_scope(), exchange.send, instance=instance, extra=[(b"x", instance.encode())])
        replies.append(exchange)

    assert [reply.headers["x"] for reply in replies] == [REQUEST, REQUEST[::-1]]
    assert [reply.json()["instance"] for reply in replies] == [REQUEST, REQUEST[::-1]]


CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/problem+json"),
        ("", "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/problem+json"),
        ("application/problem+json, text/html", "application/problem+json"),
        ("image/png", "application/problem+json"),
        ("\xff;;q=,", "application/problem+json"),
        (CHROME, "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/*", "text/plain; charset=utf-8"),
        ("text/event-stream", "text/plain; charset=utf-8"),
    ],
)
async def test_a_problem_is_told_in_the_form_asked_for(accept: str | None, media_type: str) -> None:
    problem = Problem(status=429, title="Slow down", detail="It is too much.")
    exchange = Exchange()
    headers = [] if accept is None else [("Accept", accept)]

    await problem.send(http_scope(headers=headers), exchange.send, instance=REQUEST)

    assert exchange.headers["content-type"] == media_type
    assert exchange.headers["content-length"] == str(len(exchange.body))
    assert exchange.headers["cache-control"] == "no-store"
    for told in (b"429", b"Slow down", b"It is too much.", REQUEST.encode()):
        assert told in exchange.body


async def test_a_problem_on_a_page_is_escaped() -> None:
    exchange = Exchange()

    await Problem(status=400, title="<b>", detail="a & <i>").send(
        http_scope(headers=[("Accept", "text/html")]), exchange.send, instance=REQUEST
    )

    assert b"&lt;b&gt;" in exchange.body
    assert b"a &amp; &lt;i&gt;" in exchange.body
    assert b"<b>" not in exchange.body


async def test_a_problem_without_detail_says_no_more_than_its_title() -> None:
    exchange = Exchange()

    await Problem(status=503, title="Gone").send(
        http_scope(headers=[("Accept", "text/plain")]), exchange.send, instance=REQUEST
    )

    assert exchange.body.decode() == f"503 Gone\nRequest {REQUEST}\n"
