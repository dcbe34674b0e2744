"""Parts of a stored answer: RFC 9110, sections 13.2.2 and 14; RFC 9111, section 3.3."""

from __future__ import annotations

import pytest

from tests.asgi import get, request
from tests.cache.apps import FRESH, Clock, Origin, Scripted, cached, timed

LINES = (
    FRESH,
    ("etag", '"a"'),
    ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT"),
    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("content-type", "text/plain"),
)


@pytest.mark.parametrize(
    ("asked", "part", "told"),
    [
        ("bytes=0-1", b"he", "bytes 0-1/5"),
        ("bytes=3-", b"lo", "bytes 3-4/5"),
        ("bytes=-2", b"lo", "bytes 3-4/5"),
        ("bytes=1-99", b"ello", "bytes 1-4/5"),
    ],
)
async def test_14_2_a_part_of_a_stored_200_is_sent_without_the_app(
    asked: str, part: bytes, told: str
) -> None:
    clock = Clock(784111779.0)
    app = Origin([(200, LINES, b"hello")])
    wrapped = timed(app, clock)
    await get(wrapped)

    reply = await get(wrapped, headers=[("range", asked)])

    assert (len(app.scopes), reply.status, reply.body) == (1, 206, part)
    assert reply.headers["content-range"] == told
    assert reply.headers["content-length"] == str(len(part))
    assert reply.headers["etag"] == '"a"'
    assert reply.headers["cache-status"] == "sipup; hit; ttl=58"


async def test_15_5_17_a_part_that_is_not_there_is_refused() -> None:
    wrapped = cached(Scripted())
    await get(wrapped)

    reply = await get(wrapped, headers=[("range", "bytes=5-")])

    assert (reply.status, reply.body, reply.headers["content-range"]) == (416, b"", "bytes */5")


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=1-0", "lines=0-1", "bytes=x"])
async def test_14_2_to_several_parts_or_garbage_the_whole_is_sent(asked: str) -> None:
    wrapped = cached(Scripted())
    await get(wrapped)

    reply = await get(wrapped, headers=[("range", asked)])

    assert (reply.status, reply.body) == (200, b"hello")


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ('"a"', 206),
        ('"b"', 200),
        ('W/"a"', 200),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 206),
        ("Sun, 06 Nov 1994 08:00:01 GMT", 200),
    ],
)
async def test_13_1_5_if_range_must_hold(condition: str, status: int) -> None:
    app = Origin([(200, LINES, b"hello")])
    wrapped = timed(app, Clock())
    await get(wrapped)

    reply = await get(wrapped, headers=[("range", "bytes=0-1"), ("if-range", condition)])

    assert (len(app.scopes), reply.status) == (1, status)


async def test_13_2_2_a_precondition_comes_before_the_range() -> None:
    wrapped = timed(Origin([(200, LINES, b"hello")]), Clock())
    await get(wrapped)

    replies = [
        await get(wrapped, headers=[("range", "bytes=0-1"), ("if-none-match", tag)]) for tag in ('"a"', '"b"')
    ]

    assert [reply.status for reply in replies] == [304, 206]


async def test_14_2_head_has_no_ranges() -> None:
    wrapped = cached(Scripted())
    await get(wrapped)

    reply = await request(wrapped, method="HEAD", headers=[("range", "bytes=0-1")])

    assert (reply.status, reply.headers["content-length"]) == (200, "5")


@pytest.mark.parametrize("status", [203, 404])
async def test_14_2_only_a_200_has_parts(status: int) -> None:
    wrapped = cached(Scripted(status=status))
    await get(wrapped)

    assert (await get(wrapped, headers=[("range", "bytes=0-1")])).status == status


@pytest.mark.parametrize(
    "answer", [(206, [FRESH, ("content-range", "bytes 0-1/5")], b"he"), (200, [FRESH], b"hello")]
)
async def test_3_3_on_a_miss_the_range_goes_to_the_app_and_nothing_is_stored(
    answer: tuple[int, list[tuple[str, str]], bytes],
) -> None:
    app = Origin([answer])
    wrapped = cached(app)
    asked = [("range", "bytes=0-1"), ("if-range", '"a"')]

    first = await get(wrapped, headers=asked)
    await get(wrapped)

    assert app.asked(0) == {b"range": b"bytes=0-1", b"if-range": b'"a"'}
    assert (first.status, first.body, len(app.scopes)) == (answer[0], answer[2], 2)
    assert first.headers["cache-status"] == "sipup; fwd=uri-miss"


async def test_a_stale_whole_is_asked_for_as_a_whole() -> None:
    clock = Clock(784111779.0)
    app = Origin([(200, LINES, b"hello"), (200, LINES, b"other")])
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61

    first = await get(wrapped, headers=[("range", "bytes=0-1")])

    assert b"range" not in app.asked(1)
    assert (first.status, first.body) == (200, b"other")
