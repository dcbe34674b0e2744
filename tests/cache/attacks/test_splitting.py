"""What is stored ends where it ends: no field breaks its line, no two tell the length (CWE-113, CWE-444)."""

from __future__ import annotations

import pytest

from sipup_middleware.cache.answer import Answer, storable_fields
from tests.asgi import get
from tests.cache.apps import FRESH, Clock, Origin, Scripted, cached, timed


@pytest.mark.parametrize(
    "value", ["a\r\nSet-Cookie: session=evil", "a\nb", "a\rb", "a\x00b", "a\r\n\r\n<html>"]
)
@pytest.mark.parametrize("name", ["location", "x-a", "etag", "cache-status"])
async def test_a_field_that_breaks_its_line_is_not_stored(name: str, value: str) -> None:
    """Klein, Divide and Conquer: HTTP Response Splitting, 2004; RFC 9110, section 5.5."""
    app = Scripted(headers=[FRESH, (name, value)])
    wrapped = cached(app)

    replies = [await get(wrapped) for _ in range(2)]

    assert app.calls == 2
    assert replies[1].headers["cache-status" if name != "cache-status" else "cache-control"]


async def test_a_field_of_a_confirmation_that_breaks_its_line_is_not_stored() -> None:
    """The same by way of a 304 (RFC 9111, section 3.2)."""
    clock, etag = Clock(), ("etag", '"a"')
    app = Origin([(200, [FRESH, etag], b"x"), (304, [FRESH, etag, ("x-a", "a\r\nSet-Cookie: b")], b"")])
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61
    await get(wrapped)

    await get(wrapped)

    assert len(app.scopes) == 3


@pytest.mark.parametrize(
    "lengths",
    [("5", "5"), ("5", "6"), ("6", "5"), ("5, 5",), ("+5",), ("5 5",), ("0x5",), ("5\x0b",), ("\xb25",)],
)
async def test_a_length_that_is_told_twice_or_oddly_is_not_stored(lengths: tuple[str, ...]) -> None:
    """RFC 9110, section 8.6: two lengths are what request smuggling is made of."""
    app = Scripted(headers=[FRESH, *(("Content-Length", each) for each in lengths)])
    wrapped = cached(app)

    for _ in range(2):
        await get(wrapped)

    assert app.calls == 2


@pytest.mark.parametrize("coding", ["chunked", "gzip, chunked", "identity", "xchunked", "chunked, identity"])
async def test_of_a_length_and_a_transfer_coding_the_length_alone_is_stored(coding: str) -> None:
    """RFC 9112, section 6.1: CL.TE; the stored body is whole and uncoded."""
    wrapped = cached(Scripted(headers=[FRESH, ("Transfer-Encoding", coding), ("content-length", "5")]))
    await get(wrapped)

    reply = await get(wrapped)

    assert reply.headers["cache-status"].startswith("sipup; hit")
    assert reply.headers.keys() == {"cache-control", "content-length", "age", "cache-status"}


@pytest.mark.parametrize(
    "name",
    [b"transfer-encoding ", b" transfer-encoding", b"transfer-encoding\t", b"x-a:", b"x\r\ny", b"", b"x y"],
)
def test_a_name_that_others_take_for_another_field_is_not_kept(name: bytes) -> None:
    """CWE-444: "Transfer-Encoding : chunked", which one reader drops and the next obeys."""
    answer = Answer(200, [(b"x-kept", b"1"), (name, b"chunked")])

    assert storable_fields(answer) == [(b"x-kept", b"1")]


@pytest.mark.parametrize("named", ["x-a", "X-A, close", "close,,X-a"])
async def test_what_a_connection_names_is_not_stored(named: str) -> None:
    """RFC 9110, section 7.6.1: hop-by-hop fields, and those that "Connection" makes such."""
    wrapped = cached(Scripted(headers=[FRESH, ("Connection", named), ("X-A", "1")]))
    await get(wrapped)

    reply = await get(wrapped)

    assert not {"X-A", "Connection"} & reply.headers.keys()
