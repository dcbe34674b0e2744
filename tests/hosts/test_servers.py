"""Each host on a real server, in a process of its own: started, asked, and ended as a service would be."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex

import httpx2
import pytest

from tests.hosts.apps import HOSTS, STARLETTE, Host
from tests.hosts.conftest import run_sql
from tests.hosts.shop import Place

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]

UVICORN = ("uvicorn", "--port", "0", "--loop")
HYPERCORN = ("hypercorn", "--bind", "127.0.0.1:0", "--worker-class")
SERVERS = [
    *(
        pytest.param(host, (*UVICORN, loop), id=f"{host.name}-{loop}")
        for host in HOSTS
        for loop in ("asyncio", "uvloop")
    ),
    pytest.param(STARLETTE, (*HYPERCORN, "trio"), id="starlette-trio"),
]


@dataclass
class Server:
    """A server with a shop on it, and all processes that it started."""

    process: subprocess.Popen[str]
    said: list[str]

    @property
    def url(self) -> str:
        found = re.search(r"unning on (http://\S+)", self.said[-1])
        assert found, "".join(self.said)
        return found[1]

    def end(self) -> int:
        """Tell it to, as a service manager does; return what it exits with."""
        self.process.send_signal(signal.SIGTERM)
        self.said.append(self.process.communicate(timeout=20)[0])
        return self.process.returncode

    def left(self, *, within: float = 10.0) -> list[int]:
        """Return the processes that do not go after it: multiprocessing's own need a moment."""
        deadline = time.monotonic() + within
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.processes()

    def processes(self) -> list[int]:
        """Return who is left of its session; a zombie only waits for its parent."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                state, _, _, session = (entry / "stat").read_text().rpartition(") ")[2].split()[:4]
            except OSError:
                continue
            if int(session) == self.process.pid and state != "Z":
                found.append(int(entry.name))
        return found


@contextmanager
def serving(host: Host, place: Place, command: tuple[str, ...]) -> Iterator[Server]:
    told = {
        "SHOP_HOST": host.name,
        **{f"SHOP_{name.upper()}": value for name, value in asdict(place).items()},
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "tests.hosts.served:app"],
        cwd=ROOT,
        env={**os.environ, **told},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    server = Server(process, [])
    assert process.stdout
    for line in process.stdout:
        server.said.append(line)
        if "unning on" in line:
            break
    try:
        yield server
    finally:
        for pid in server.processes():
            os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(("host", "command"), SERVERS)
def test_a_host_on_a_server_serves_and_ends_cleanly(
    host: Host, command: tuple[str, ...], place: Place
) -> None:
    name = token_hex()

    with serving(host, place, command) as server:
        with httpx2.Client(base_url=server.url, timeout=20) as client:
            order = client.post("/items", json={"name": name})
            replies = [client.get(f"/items/{order.json()['id']}") for _ in range(2)]
            streamed = client.get("/stream")
            ready = client.get("/_health/ready")
        code = server.end()
        left = server.left()

    status = [each.headers["cache-status"].split("; ")[1] for each in replies]
    assert status == ["fwd=uri-miss", "hit"]
    assert [each.json()["name"] for each in replies] == [name] * 2
    assert streamed.text == "tick 0\ntick 1\ntick 2\n"
    assert (ready.status_code, ready.json()["checks"]["postgres:ping"][0]["status"]) == (200, "pass")
    jobs = run_sql(place.database_url, "SELECT key, status FROM sipup.saq_jobs WHERE queue = $1", place.name)
    assert jobs == [(order.json()["job"], "queued")]
    assert code in {0, -signal.SIGTERM}, "uvicorn raises the signal again once it has ended"
    assert left == []
    assert not re.search("error|traceback|warning", "".join(server.said), re.IGNORECASE), server.said
