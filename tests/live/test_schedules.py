"""Random schedules over two processes: fills, purges, cancels, kills and expiries at once; nothing is stale.

A purged value is one that lacks a write which had returned, or whose writer was dead, before the request
began. Each process counts its writes in a slot of its own, so that values are comparable however they mix.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.live.schedule_worker import KEYS, SLOTS, Truth

STEPS = 60
PATIENCE = 30
KILLS = 0.01

seeds = settings(
    max_examples=1000 if settings().max_examples > 1000 else 5,  # `make fuzz`, and the suite
    phases=[Phase.generate],  # two runs of a schedule differ: there is nothing to shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Process:
    """A worker, and all that it told."""

    def __init__(self, backend: str, url: str, directory: Path, slot: int, seed: int) -> None:
        self.slot = slot
        self.told: list[dict[str, Any]] = []
        self._sent = 0
        self._heard = threading.Condition()
        truth = str(directory / "truth")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.live.schedule_worker", backend, url, truth, str(slot), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"SIPUP_RUNTIME_DIR": str(directory / "run")},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, order: dict[str, Any]) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it was told to die
            print(json.dumps(order), file=self._process.stdin, flush=True)
            self._sent += 1

    def settle(self) -> None:
        """Wait until all that was sent is done, or it is dead."""
        with self._heard:
            done = self._heard.wait_for(lambda: len(self.told) > self._sent or self.is_dead, PATIENCE)
        assert done, f"{self._sent} orders, {len(self.told) - 1} answers"

    @property
    def is_dead(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it at once; what it told is heard to the end."""
        self._process.kill()
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with suppress(BrokenPipeError):
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._heard:
                self.told.append(json.loads(line))
                self._heard.notify_all()
        self._process.wait(PATIENCE)
        with self._heard:
            self._heard.notify_all()


class Host:
    """Two workers at a time, which live on from schedule to schedule; one that dies is replaced."""

    def __init__(self, url: str) -> None:
        self._directory = TemporaryDirectory(prefix="sipup-schedule-")
        self._path = Path(self._directory.name)
        self._url = url.format(directory=quote(str(self._path)))
        (self._path / "run").mkdir()
        (self._path / "truth").write_bytes(bytes(8 * KEYS * SLOTS))
        self._truth = Truth(self._path / "truth")
        self._floors: list[tuple[float, int, int, int]] = []
        """Since when, of which key and slot, how many writes nobody may lack."""
        self._slots = 0
        self._workers = [self._start("asyncio", 0), self._start("trio", 1)]

    def run(self, draw: Random) -> None:
        """Carry out a schedule, and check it."""
        told: list[dict[str, Any]] = []
        for _ in range(STEPS):
            number = draw.randrange(2)
            self._workers[number].send(_order(draw))
            if draw.random() < KILLS:
                self._workers[number].kill()
            if self._workers[number].is_dead:
                told += self._replace(number, draw)
            if draw.random() < 0.3:
                threading.Event().wait(draw.random() * 0.02)  # the processes go on meanwhile
        for number, worker in enumerate(self._workers):
            worker.settle()
            if worker.is_dead:
                told += self._replace(number, draw)
            told += worker.told[1:]
            del worker.told[1:]
            worker._sent = 0
        self._check([each for each in told if each.get("ended")])

    @property
    def is_used_up(self) -> bool:
        return self._slots > SLOTS - STEPS * 2 * KILLS * 10

    def end(self) -> None:
        for each in self._workers:
            each.kill()
        self._directory.cleanup()

    def _start(self, backend: str, seed: int) -> Process:
        self._slots += 1
        return Process(backend, self._url, self._path, self._slots - 1, seed)

    def _replace(self, number: int, draw: Random) -> list[dict[str, Any]]:
        """Bury a worker: whatever it committed nobody may lack from now on. Return what it told."""
        dead = self._workers[number]
        dead.kill()
        now = monotonic()
        self._floors += [(now, key, dead.slot, self._truth.read(key)[dead.slot]) for key in range(KEYS)]
        self._workers[number] = self._start(draw.choice(["asyncio", "trio"]), draw.randrange(1 << 30))
        return dead.told[1:]

    def _check(self, told: list[dict[str, Any]]) -> None:
        self._floors += [
            (each["ended"], each["key"], each["slot"], each["value"])
            for each in told
            if each["op"] == "write"
        ]
        for each in told:
            if each["op"] != "get":
                continue
            for since, key, slot, count in self._floors:
                if key == each["key"] and since <= each["began"]:
                    assert each["value"][slot] >= count, f"stale: {each} lacks {(since, slot, count)}"
        latest = {(key, slot): (since, count) for since, key, slot, count in sorted(self._floors)}
        self._floors = [(since, key, slot, count) for (key, slot), (since, count) in latest.items()]


def _order(draw: Random) -> dict[str, Any]:
    key, dice = draw.randrange(KEYS), draw.random()
    if dice < 0.2:
        return {"op": "write", "key": key, "dies": draw.random() < KILLS}
    if dice < 0.22:
        return {"op": "clear"}
    kind = draw.choice(["one", "late"])
    return {"op": "get", "kind": kind, "key": key, "cancelled": draw.random() < 0.2}


@contextmanager
def hosts(url: str) -> Iterator[Callable[[], Host]]:
    """Give the host of the schedules; a new one when its workers have died too often to be told apart."""
    host = Host(url)

    def of_the_day() -> Host:
        nonlocal host
        if host.is_used_up:
            host.end()
            host = Host(url)
        return host

    try:
        yield of_the_day
    finally:
        host.end()


@pytest.fixture(params=["memory://", "file://{directory}/cache", "valkey"])
def host(request: pytest.FixtureRequest) -> Iterator[Callable[[], Host]]:
    url = request.getfixturevalue("redis_url") if request.param == "valkey" else request.param
    with hosts(url) as host:
        yield host


@seeds
@given(seed=st.integers(0, 1 << 30))
def test_no_process_of_a_host_serves_a_purged_value(host: Callable[[], Host], seed: int) -> None:
    host().run(Random(seed))  # noqa: S311 (a schedule, not a secret)
