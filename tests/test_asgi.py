from __future__ import annotations

import pytest
from starlette.types import Message

from sipup_middleware.asgi import Problem, header, with_headers
from tests.asgi import Exchange, http_scope


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

    await problem.send(http_scope(), exchange.send, instance="ab12", extra=[(b"x-extra", b"1")])

    assert exchange.json() == {
        "type": "urn:x",
        "title": "Slow",
        "status": 429,
        "detail": '"why"',
        "instance": "ab12",
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

    await Problem(status=503, title="Gone").send(http_scope(method=method), exchange.send, instance="1")

    assert (exchange.body == b"") is empty
    assert int(exchange.headers["content-length"]) > 0


async def test_a_problem_is_sent_twice_with_nothing_left_over() -> None:
    problem = Problem(status=503, title="Gone")
    replies = []

    for instance in ("1", "2"):
        exchange = Exchange()
        await problem.send(http_scope(), exchange.send, instance=instance, extra=[(b"x", instance.encode())])
        replies.append(exchange)

    assert [reply.headers["x"] for reply in replies] == ["1", "2"]
    assert [reply.json()["instance"] for reply in replies] == ["1", "2"]
