"""A reverse proxy that stores nothing: what stands behind the cache in these tests. On asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from starlette.types import Receive, Scope, Send

__all__ = ("ReverseProxy",)

Lines = list[tuple[bytes, bytes]]

_HOPS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
_LONGEST = 1 << 16


class ReverseProxy:
    """Asks the origin at *port*; answers 502 where that does not, raises where it breaks off."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        body = await _body(receive)
        try:
            stream = await anyio.connect_tcp("127.0.0.1", self.port)
        except OSError:
            return await _bad_gateway(send)
        async with stream:
            await stream.send(_request(scope, body))
            return await _relay(BufferedByteReceiveStream(stream), scope["method"], send)


async def _body(receive: Receive) -> bytes:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


def _request(scope: Scope, body: bytes) -> bytes:
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    lines = [pair for pair in _end_to_end(scope["headers"]) if pair[0] != b"content-length"]
    lines += [(b"connection", b"close")]
    if body or scope["method"] == "POST":
        lines += [(b"content-length", b"%d" % len(body))]
    head = b"%b %b HTTP/1.1\r\n" % (scope["method"].encode(), target)
    return head + b"".join(b"%b: %b\r\n" % pair for pair in lines) + b"\r\n" + body


def _end_to_end(lines: Lines) -> Lines:
    named = {
        name.strip().lower()
        for field, value in lines
        if field.lower() == b"connection"
        for name in value.split(b",")
    }
    return [(name, value) for name, value in lines if name.lower() not in _HOPS | named]


async def _relay(stream: BufferedByteReceiveStream, method: str, send: Send) -> None:
    try:
        status, lines = await _head(stream)
    except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound, ValueError):
        return await _bad_gateway(send)
    await send({"type": "http.response.start", "status": status, "headers": _end_to_end(lines)})
    if method != "HEAD" and status not in {204, 304}:
        async for piece in _pieces(stream, {name.lower(): value.lower() for name, value in lines}):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})
    return None


async def _head(stream: BufferedByteReceiveStream) -> tuple[int, Lines]:
    """Read a final head; raises ValueError for one that cannot be read, such as with a folded line."""
    while True:
        first, *rest = (await stream.receive_until(b"\r\n\r\n", _LONGEST)).split(b"\r\n")
        status = int(first.split(b" ")[1])
        if status >= 200:
            return status, [_field(line) for line in rest]


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or name != name.strip():
        raise ValueError("not a field")
    return name.lower(), value.strip(b" \t")


async def _pieces(stream: BufferedByteReceiveStream, fields: dict[bytes, bytes]) -> AsyncIterator[bytes]:
    """Yield the body as it comes; raises where it breaks off."""
    if fields.get(b"transfer-encoding") == b"chunked":
        while size := int(await stream.receive_until(b"\r\n", _LONGEST), 16):
            yield await stream.receive_exactly(size)
            await stream.receive_exactly(2)
        return
    left = int(fields[b"content-length"]) if b"content-length" in fields else None
    while left is None or left:
        try:
            piece = await stream.receive(_LONGEST if left is None else left)
        except anyio.EndOfStream:
            if left is None:
                return
            raise
        left = None if left is None else left - len(piece)
        yield piece


async def _bad_gateway(send: Send) -> None:
    await send({"type": "http.response.start", "status": 502, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
