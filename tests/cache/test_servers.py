"""RFC 5861, section 3, on real servers: the stale answer comes at once, and is made anew behind it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
APP = "tests.cache.served:app"

SERVERS = [
    pytest.param(("uvicorn", "--port", "{port}", "--loop", "asyncio"), id="uvicorn-asyncio"),
    pytest.param(("uvicorn", "--port", "{port}", "--loop", "uvloop"), id="uvicorn-uvloop"),
    pytest.param(
        ("hypercorn", "--bind", "127.0.0.1:{port}", "--worker-class", "asyncio"), id="hypercorn-asyncio"
    ),
    pytest.param(("hypercorn", "--bind", "127.0.0.1:{port}", "--worker-class", "trio"), id="hypercorn-trio"),
    pytest.param(("granian", "--interface", "asgi", "--port", "{port}", "--loop", "asyncio"), id="granian"),
]


@contextmanager
def serving(command: tuple[str, ...]) -> Iterator[str]:
    """Run a server on the app until left; give its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [word.format(port=port) for word in command]
    process = subprocess.Popen(
        [sys.executable, "-m", *words, APP], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(url))
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    assert not re.search(rb"Traceback|ERROR|Exception", said), said.decode()


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/calls", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def until(true: Callable[[], bool], *, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("command", SERVERS)
def test_5861_3_the_refresh_outlives_its_request_and_its_connection(command: tuple[str, ...]) -> None:
    with serving(command) as url:
        with httpx2.Client(base_url=url, timeout=10) as client:
            replies = [client.get("/page") for _ in range(3)]
            calls = client.get("/calls").text
        with httpx2.Client(base_url=url, timeout=10) as client:
            client.post("/go")
            until(lambda: client.get("/page").text == "2")
            last = client.get("/page")

    assert [reply.text for reply in replies] == ["1"] * 3
    assert replies[2].headers["cache-status"].startswith("sipup; hit; ttl=")
    assert calls == "2"
    assert last.headers["cache-status"].startswith("sipup; hit; ttl=")
