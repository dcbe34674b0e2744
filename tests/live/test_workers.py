"""Four workers of one host, no server: what one of them changes, none serves."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

pytestmark = pytest.mark.live

WORKERS = 4
PATIENCE = 60


@contextmanager
def serving(directory: Path) -> Iterator[Path]:
    """Run uvicorn with its workers on a socket in *directory*."""
    path = directory / "s"
    command = [sys.executable, "-m", "uvicorn", "tests.live.kept:app", "--workers", str(WORKERS)]
    process = subprocess.Popen(
        [*command, "--uds", str(path), "--log-level", "error"],
        env=os.environ
        | {"SIPUP_RUNTIME_DIR": str(directory / "run"), "KEPT_VALUE": str(directory / "value")},
    )
    try:
        _wait_for(path)
        yield path
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _wait_for(path: Path) -> None:
    until = monotonic() + PATIENCE
    while monotonic() < until:
        with socket.socket(socket.AF_UNIX) as link, suppress(OSError):
            return link.connect(str(path))
        sleep(0.02)
    raise TimeoutError("uvicorn did not start")


def ask(path: Path, method: str = "GET", body: str = "") -> httpx.Response:
    """On a connection of its own, which any of the workers may take."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=PATIENCE) as client:
        return client.request(method, "http://kept/value", content=body or None)


def every_workers(path: Path) -> dict[str, httpx.Response]:
    """Return the first answer of each worker."""
    first: dict[str, httpx.Response] = {}
    until = monotonic() + PATIENCE
    while len(first) < WORKERS:
        assert monotonic() < until, f"{len(first)} workers answered"
        answer = ask(path)
        first.setdefault(answer.headers["x-worker"], answer)
    return first


def told(answers: dict[str, httpx.Response]) -> set[tuple[str, str]]:
    return {(each.text, each.headers["cache-status"].partition(";")[2].strip()) for each in answers.values()}


def test_46_a_put_on_one_worker_makes_the_next_get_on_each_a_miss(tmp_path: Path) -> None:
    (tmp_path / "value").write_text("old")
    with serving(tmp_path) as path:
        assert told(every_workers(path)) == {("old", "fwd=uri-miss; stored")}
        hits = every_workers(path)

        changed = ask(path, "PUT", "new")
        after = every_workers(path)

    assert {text for text, _ in told(hits)} == {"old"}
    assert all("; hit" in each.headers["cache-status"] for each in hits.values())
    assert changed.status_code == 204
    assert told(after) == {("new", "fwd=uri-miss; stored")}
    assert after.keys() == hits.keys()
