"""A refusal before the body is read, on real servers and by raw sockets: what is left of the connection.

RFC 9112, section 9.3: a server either reads what is on its way or closes; nobody gets another's answer.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import pytest

from sipup_middleware.ratelimit.unread import MOST

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
APP = "tests.ratelimit.test_wrapped_servers:app"
"""One request an hour from each ``X-Client``, and any number without; it tells how many bytes it was sent."""

DEADLINE = 20.0
UVICORN = ("uvicorn", "--uds", "{}", "--no-proxy-headers", "--loop")
HYPERCORN = ("hypercorn", "--bind", "unix:{}", "--worker-class")
GRANIAN = ("granian", "--interface", "asgi", "--uds", "{}", "--workers", "1", "--loop")
SERVERS = [
    pytest.param((*UVICORN, "asyncio", "--http", "h11"), id="uvicorn-asyncio-h11"),
    pytest.param((*UVICORN, "uvloop", "--http", "httptools"), id="uvicorn-uvloop-httptools"),
    pytest.param((*HYPERCORN, "asyncio"), id="hypercorn-asyncio"),
    pytest.param((*HYPERCORN, "trio"), id="hypercorn-trio"),
    pytest.param((*GRANIAN, "asyncio"), id="granian-asyncio"),
    pytest.param((*GRANIAN, "uvloop"), id="granian-uvloop"),
]
READ = [0, 10_000, 200_000, MOST]
"""Lengths of bodies that are read."""

TOO_LONG = [MOST + 1, 10 * MOST]


def dialled(path: Path) -> socket.socket:
    """A connection to a server that may be starting."""
    deadline = time.monotonic() + DEADLINE
    while True:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(DEADLINE)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.02)
        else:
            return connection


@pytest.fixture(params=SERVERS, scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a server at which the client "spent" has used what it had."""
    path = tmp_path_factory.mktemp("served") / "http.sock"
    command = [sys.executable, "-m", *(each.format(path) for each in request.param), APP]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with dialled(path) as first:
            first.sendall(head(0, client="spent"))
            assert answer(first) == (200, b"0")
        yield path
    finally:
        process.terminate()
        process.wait(timeout=DEADLINE)


@pytest.fixture
def connection(server: Path) -> Iterator[socket.socket]:
    with dialled(server) as opened:
        yield opened


def head(length: int, *, client: str | None = "spent", extra: str = "") -> bytes:
    named = "" if client is None else f"X-Client: {client}\r\n"
    return f"POST / HTTP/1.1\r\nHost: shop\r\n{named}{extra}Content-Length: {length}\r\n\r\n".encode()


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Read one response, past any ``100 Continue``."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def another(connection: socket.socket) -> tuple[int, bytes] | None:
    """What the next request on the same connection gets; None = it is closed."""
    try:
        connection.sendall(head(5, client=None) + b"hello")
        return answer(connection)
    except (ConnectionError, HTTPException):
        return None


def sent_then_another(connection: socket.socket, length: int) -> tuple[int, bytes] | None:
    """Send the body that was announced, then what `another` does."""
    try:
        connection.sendall(b"x" * length)
    except ConnectionError:
        return None
    return another(connection)


@pytest.mark.parametrize("length", READ)
def test_a_refused_body_that_came_with_its_request_leaves_the_connection_usable(
    connection: socket.socket, length: int
) -> None:
    seen = []
    for _ in range(3):
        connection.sendall(head(length) + b"x" * length)
        status, problem = answer(connection)
        seen.append((status, b"quota-exceeded" in problem, another(connection)))

    assert seen == [(429, True, (200, b"5"))] * 3


@pytest.mark.parametrize("length", READ)
def test_a_client_that_waits_for_its_refusal_before_it_sends_the_body_has_it_at_once(
    request: pytest.FixtureRequest, connection: socket.socket, length: int
) -> None:
    connection.sendall(head(length))
    status, problem = answer(connection)
    left = sent_then_another(connection, length)

    assert (status, b"quota-exceeded" in problem) == (429, True)
    assert left == (200, b"5") or (left is None and "granian" in request.node.name), (
        "granian closes where a whole answer comes before the body"
    )


@pytest.mark.parametrize("length", TOO_LONG)
def test_a_body_that_is_too_long_to_be_read_is_refused_and_nobody_gets_a_wrong_answer(
    connection: socket.socket, length: int
) -> None:
    connection.sendall(head(length))
    status, problem = answer(connection)
    left = sent_then_another(connection, length)

    assert (status, b"quota-exceeded" in problem) == (429, True)
    assert left in {None, (200, b"5")}


@pytest.mark.parametrize("length", [10, 200_000, TOO_LONG[0]])
def test_who_asks_before_sending_a_body_is_refused_and_gets_no_wrong_answer(
    connection: socket.socket, length: int
) -> None:
    """RFC 9110, section 10.1.1: a final status in place of ``100 Continue``."""
    connection.sendall(head(length, extra="Expect: 100-continue\r\n"))
    status, problem = answer(connection)
    left = sent_then_another(connection, length)

    assert (status, b"quota-exceeded" in problem) == (429, True)
    assert left in {None, (200, b"5")}


def test_who_is_refused_on_one_connection_is_served_on_another(server: Path) -> None:
    with dialled(server) as first, dialled(server) as second:
        first.sendall(head(200_000))
        refused = answer(first)[0]

        assert (refused, another(second)) == (429, (200, b"5"))
