"""Clients that leave real servers in the middle of a statement: PostgreSQL is told to stop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path

import anyio
import orjson
import pytest

from sipup_middleware.database import Database, PoolConfig
from sipup_middleware.services import Services
from tests.live.test_servers import DEADLINE, ROOT, SERVERS, dialled

pytestmark = pytest.mark.live

RUNNING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE query LIKE '%left alone%' AND state = 'active' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def url(services: Services) -> str:
    assert services.database_url
    return services.database_url


@pytest.fixture(params=SERVERS, scope="module")
def server(
    request: pytest.FixtureRequest, url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("left") / "http.sock"
    command = [sys.executable, "-m", *(each.format(path) for each in request.param), "tests.live.leaving:app"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "LEAVING_DATABASE_URL": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        dialled(path).close()
        yield path
    finally:
        process.terminate()
        process.wait(timeout=DEADLINE)


def ask(url: str, sql: str) -> object:
    async def run() -> object:
        async with Database(url, pool=PoolConfig(min=0, max=1)).open() as db:
            return await db.execute(sql) if sql.startswith(("CREATE", "DROP")) else await db.fetchval(sql)

    return anyio.run(run)


def until_it_says(url: str, expected: int) -> None:
    deadline = time.monotonic() + 10
    while ask(url, RUNNING) != expected:
        assert time.monotonic() < deadline, f"never {expected} of them"
        time.sleep(0.01)


def head(method: str, path: str, length: int = 0) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: {length}\r\n\r\n".encode()


def answer(connection: socket.socket) -> tuple[int, bytes]:
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b"x" * 1000)])
def test_a_statement_ends_when_its_client_leaves(server: Path, url: str, method: str, body: bytes) -> None:
    before = told(server)
    with closing(dialled(server)) as client:
        client.sendall(head(method, "/slow", len(body)) + body)
        until_it_says(url, 1)

    until_it_says(url, 0)
    assert told(server) == [*before, "ClientDisconnected"]


def told(server: Path) -> list[str]:
    with closing(dialled(server)) as client:
        client.sendall(head("GET", "/told"))
        return list(orjson.loads(answer(client)[1]))


def test_its_transaction_is_rolled_back(server: Path, url: str) -> None:
    ask(url, "CREATE TABLE left_behind (i int)")
    try:
        with closing(dialled(server)) as client:
            client.sendall(head("POST", "/slow-write"))
            until_it_says(url, 1)
        until_it_says(url, 0)

        assert ask(url, "SELECT count(*) FROM left_behind") == 0
    finally:
        ask(url, "DROP TABLE left_behind")


@pytest.mark.parametrize("length", [0, 1000, 300_000])
def test_a_body_that_comes_while_it_is_watched_is_read_whole(server: Path, length: int) -> None:
    with closing(dialled(server)) as client:
        client.sendall(head("POST", "/echo", length) + b"x" * length)

        first = answer(client)
        client.sendall(head("POST", "/echo", 5) + b"again")

        assert (first, answer(client)) == ((200, b"%d" % length), (200, b"5"))
