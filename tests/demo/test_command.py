"""``python -m demo_app`` as a user runs it: started, asked, and ended in every way there is."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
KEY = {"x-api-key": "demo-key"}


def eventually(holds: Callable[[], bool], *, within: float = 20.0) -> bool:
    deadline = time.monotonic() + within
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


@dataclass
class Demo:
    """A running demo, everything of which carries its directory in the environment."""

    process: subprocess.Popen[str]
    directory: Path
    said: list[str]

    @property
    def url(self) -> str:
        found = re.search(r"Open +(\S+)/$", "\n".join(self.said), re.MULTILINE)
        assert found, self.said
        return found[1]

    def client(self, address: str) -> httpx2.Client:
        """Return a client of that loopback address, so that limits tell the tests apart."""
        return httpx2.Client(
            base_url=self.url, transport=httpx2.HTTPTransport(local_address=address), timeout=30
        )

    def processes(self) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.directory).encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def workers(self) -> list[int]:
        return [pid for pid in self.processes() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def is_gone(self) -> bool:
        return not self.processes() and not list(self.directory.iterdir())


@contextmanager
def launched(*options: str, until: str = "Ctrl-C", **environ: str) -> Iterator[Demo]:
    directory = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    directory.chmod(0o711)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("SIPUP_", "DEMO_"))
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "demo_app", *options],
        cwd=ROOT,
        env={**inherited, "TMPDIR": str(directory), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if until in line:
            break
    demo = Demo(process, directory, said)
    try:
        yield demo
    finally:
        process.kill()
        process.wait()
        gone = eventually(demo.is_gone)
        for pid in demo.processes():
            os.kill(pid, signal.SIGKILL)
        process.stdout.close()
        shutil.rmtree(directory, ignore_errors=True)
        assert gone


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with launched("--port", "0") as running:
        yield running


@pytest.fixture(scope="module")
def pair() -> Iterator[Demo]:
    with launched("--port", "0", "--workers", "2") as running:
        assert eventually(lambda: len(running.workers()) == 2)
        yield running


def test_the_second_answer_is_a_hit_and_both_tell_the_limits(demo: Demo) -> None:
    with demo.client("127.0.0.2") as client:
        first, second = client.get("/products/1"), client.get("/products/1")

    assert first.headers["cache-status"].startswith("sipup; fwd=uri-miss")
    assert second.headers["cache-status"].startswith("sipup; hit")
    assert first.headers["ratelimit-policy"] == second.headers["ratelimit-policy"]
    assert (first.headers["ratelimit"][:10], second.headers["ratelimit"][:10]) == ('"ip";r=99;', '"ip";r=98;')


def test_a_new_price_makes_the_next_answer_a_miss_with_it(demo: Demo) -> None:
    with demo.client("127.0.0.3") as client:
        client.get("/products/30")
        changed = client.put("/products/30/price", json={"price": "12.34"}, headers=KEY)
        after = client.get("/products/30")

    assert changed.json() == {"id": 30, "price": "12.34"}
    assert after.headers["cache-status"].startswith("sipup; fwd=uri-miss")
    assert after.json()["price"] == "12.34"


def test_health_tells_it(demo: Demo) -> None:
    with demo.client("127.0.0.4") as client:
        for _ in range(3):
            client.get("/products/31")
        ready, metrics = client.get("/_health/ready"), client.get("/_health/metrics").json()

        assert eventually(lambda: client.get("/_health/ready").json()["status"] == "pass")  # its worker is up

    product = next(route for route in metrics["http"]["routes"] if route["route"] == "/products/{id}")
    assert ready.status_code == 200
    assert {"postgres:ping", "store:ping", "ratelimit:storage", "jobs:workers"} <= set(ready.json()["checks"])
    assert product["status"]["2xx"] >= 1
    assert metrics["cache"]["hits"] >= 2
    assert metrics["db"]["queries_total"] >= 1
    assert metrics["ratelimit"]["allowed_total"] >= 3


def test_after_a_hundred_requests_a_minute_a_client_is_refused(demo: Demo) -> None:
    with demo.client("127.0.0.5") as client:
        replies = [client.get("/categories") for _ in range(103)]
        health = client.get("/_health/live")

    assert {reply.status_code for reply in replies[:100]} == {200}
    assert replies[-1].status_code == 429
    assert int(replies[-1].headers["retry-after"]) >= 1
    assert replies[-1].headers["content-type"] == "application/problem+json"
    assert health.status_code == 200


def test_the_page_is_there(demo: Demo) -> None:
    with demo.client("127.0.0.6") as client:
        page = client.get("/")

    assert f"curl -i {demo.url}/products/1<" in page.text


@contextmanager
def only(worker: int, demo: Demo) -> Iterator[None]:
    """Let no other worker run: whoever connects now is served by *worker*."""
    others = [pid for pid in demo.workers() if pid != worker]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


def test_a_price_set_in_one_worker_is_seen_by_the_other(pair: Demo) -> None:
    writer, reader = pair.workers()

    def ask(worker: int, method: str = "GET") -> httpx2.Response:
        with only(worker, pair), pair.client("127.0.0.7") as client:
            if method == "PUT":
                return client.put("/products/5/price", json={"price": "55.55"}, headers=KEY)
            return client.get("/products/5")

    assert ask(reader).status_code == ask(writer).status_code == 200
    assert ask(reader).headers["cache-status"].startswith("sipup; hit")
    assert ask(writer, "PUT").status_code == 200
    assert ask(reader).json()["price"] == "55.55"


ENDINGS = [
    (signal.SIGINT, "1", 0),
    (signal.SIGTERM, "1", 0),
    (signal.SIGKILL, "1", -9),
    (signal.SIGINT, "2", 0),
    (signal.SIGTERM, "2", 0),
    (signal.SIGHUP, "2", 0),
    (signal.SIGKILL, "2", -9),
]


@pytest.mark.parametrize(("ending", "workers", "code"), ENDINGS)
def test_nothing_outlives_it(ending: signal.Signals, workers: str, code: int) -> None:
    with launched("--port", "0", "--workers", workers) as running, running.client("127.0.0.8") as client:
        assert client.get("/products/1").status_code == 200  # and its connection stays open

        if ending is signal.SIGINT:
            os.killpg(running.process.pid, ending)  # as a terminal's Ctrl-C: to all of the group
        else:
            running.process.send_signal(ending)
        output, _ = running.process.communicate(timeout=30)

        assert running.process.returncode == code
        if ending is not signal.SIGKILL:  # workers that were not told may say that their servers are gone
            assert output.strip() == ""
        assert eventually(running.is_gone)


def test_ended_while_it_starts_it_leaves_nothing() -> None:
    with launched("--port", "0", until="Loading") as running:
        running.process.terminate()
        running.process.communicate(timeout=30)

        assert running.process.returncode == 0
        assert eventually(running.is_gone)


def test_a_taken_port_is_one_line_and_nothing_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with launched("--port", port) as running:
            running.process.wait(timeout=30)

            assert running.process.returncode == 1
            assert running.said == [
                f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
            ]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"SIPUP_REDIS_ULR": "redis://cache"}, "did you mean SIPUP_REDIS_URL?"),
        ({"SIPUP_RATE_LIMIT": "off"}, "none of its layers can be switched off"),
        ({"SIPUP_DATABASE_URL": "postgresql://app:s3cret@127.0.0.1:1/app"}, "PostgreSQL cannot be reached"),
    ],
)
def test_a_wrong_environment_is_one_line(environ: dict[str, str], message: str) -> None:
    with launched("--port", "0", **environ) as running:
        running.process.wait(timeout=30)

        assert running.process.returncode == 1
        assert message in running.said[-1]
        assert "s3cret" not in "".join(running.said)
        assert "Traceback" not in "".join(running.said)


def test_servers_and_key_of_ones_own_are_used_and_not_shown(demo_url: str, redis_url: str) -> None:
    own = {"SIPUP_DATABASE_URL": demo_url, "SIPUP_REDIS_URL": redis_url, "DEMO_API_KEY": "s3cret"}

    with launched("--port", "0", **own) as running, running.client("127.0.0.9") as client:
        refused = client.put("/products/40/price", json={"price": "1.00"}, headers=KEY)
        taken = client.put("/products/40/price", json={"price": "1.00"}, headers={"x-api-key": "s3cret"})

    banner = "".join(running.said)
    assert (refused.status_code, taken.status_code) == (401, 200)
    assert "They are there already" in banner
    assert "those that SIPUP_* names" in banner
    assert not [secret for secret in (demo_url, redis_url, "s3cret") if secret in banner]
