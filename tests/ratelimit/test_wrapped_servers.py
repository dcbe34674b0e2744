"""Refused on real servers: what is left of the connection, and what a websocket's client is told."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.types import Receive, Scope, Send

from sipup_middleware import Limit, RateLimit, by_header

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]

UVICORN = ("uvicorn", "--port", "0", "--no-proxy-headers", "--loop")
HYPERCORN = ("hypercorn", "--bind", "127.0.0.1:0", "--worker-class")
SERVERS = [
    pytest.param((*UVICORN, "asyncio", "--http", "h11"), id="uvicorn-asyncio-h11"),
    pytest.param((*UVICORN, "uvloop", "--http", "httptools"), id="uvicorn-uvloop-httptools"),
    pytest.param((*UVICORN, "asyncio", "--ws", "wsproto"), id="uvicorn-wsproto"),
    pytest.param((*UVICORN, "asyncio", "--lifespan", "off"), id="uvicorn-without-lifespan"),
    pytest.param((*HYPERCORN, "asyncio"), id="hypercorn-asyncio"),
    pytest.param((*HYPERCORN, "trio"), id="hypercorn-trio"),
]
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Read all that is sent, and tell how much it was; accept every socket."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


app = RateLimit(limits=[Limit("1/hour", key=by_header("x-client"), name="client", strategy="fixed")])(upload)
"""What the servers of these tests serve."""


@contextmanager
def serving(command: tuple[str, ...]) -> Iterator[HTTPConnection]:
    """Run a server; yields a connection to it that is never opened a second time."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command, f"{__name__}:app"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    try:
        assert process.stdout
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"unning on (http://\S+)", line):
                break
        else:
            pytest.fail("".join(said))
        connection = HTTPConnection(urlsplit(found[1]).netloc, timeout=20)
        connection.connect()
        connection.auto_open = 0
        yield connection
        connection.close()
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(params=SERVERS, scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[HTTPConnection]:
    with serving(request.param) as connection:
        yield connection


@pytest.fixture
def connection(server: HTTPConnection) -> Iterator[HTTPConnection]:
    fresh = HTTPConnection(server.host, server.port, timeout=20)
    fresh.connect()
    fresh.auto_open = 0
    yield fresh
    fresh.close()


def read(connection: HTTPConnection) -> tuple[int, bytes, HTTPResponse]:
    response = connection.getresponse()
    return response.status, response.read(), response


def spend(connection: HTTPConnection, client: str) -> None:
    connection.request("GET", "/", headers={"X-Client": client})
    assert read(connection)[0] == 200


def test_a_refusal_leaves_the_connection_usable_when_the_body_came_with_it(
    connection: HTTPConnection,
) -> None:
    spend(connection, "together")
    seen: list[tuple[int, bytes]] = []

    for _ in range(3):
        connection.request("POST", "/", body=b"x" * 100_000, headers={"X-Client": "together"})
        refused = read(connection)[0]
        connection.request("POST", "/", body=b"hello")
        seen.append((refused, read(connection)[1]))

    assert seen == [(429, b"5")] * 3


def test_a_refusal_leaves_the_connection_usable_when_the_body_comes_after_it(
    connection: HTTPConnection,
) -> None:
    spend(connection, "after")

    connection.putrequest("POST", "/")
    connection.putheader("X-Client", "after")
    connection.putheader("Content-Length", "100000")
    connection.endheaders()
    status, problem, response = read(connection)
    connection.send(b"x" * 100_000)
    connection.request("POST", "/", body=b"hello")

    assert status == 429
    assert b"quota-exceeded" in problem
    assert not response.will_close
    assert read(connection)[:2] == (200, b"5")


def test_a_refusal_leaves_the_connection_usable_when_the_body_comes_in_chunks(
    connection: HTTPConnection,
) -> None:
    spend(connection, "chunks")
    chunks: Any = (b"x" * 1000 for _ in range(50))

    connection.request("POST", "/", body=chunks, headers={"X-Client": "chunks"}, encode_chunked=True)
    status = read(connection)[0]
    connection.request("POST", "/", body=b"hello")

    assert status == 429
    assert read(connection)[:2] == (200, b"5")


def test_a_head_request_is_refused_without_a_body(connection: HTTPConnection) -> None:
    spend(connection, "head")

    connection.request("HEAD", "/", headers={"X-Client": "head"})
    status, body, response = read(connection)
    connection.request("GET", "/")

    assert (status, body) == (429, b"")
    assert int(response.headers["content-length"]) > 0
    assert response.headers["retry-after"]
    assert read(connection)[0] == 200


def test_a_websocket_over_the_limit_is_answered_429(connection: HTTPConnection) -> None:
    spend(connection, "socket")

    connection.request("GET", "/", headers={**HANDSHAKE, "X-Client": "socket"})
    status, problem, response = read(connection)

    assert status == 429
    assert b"quota-exceeded" in problem
    assert int(response.headers["retry-after"]) > 0


def test_a_websocket_within_the_limit_is_accepted(connection: HTTPConnection) -> None:
    connection.request("GET", "/", headers=HANDSHAKE)

    response = connection.getresponse()

    assert response.status == 101
    assert not [name for name in response.headers if "ratelimit" in name.lower()]
