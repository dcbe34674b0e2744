"""Real servers watched by a real sentinel: the limits follow the master."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
import redis
from anyio.to_thread import run_sync

from sipup_middleware.bridge import here
from sipup_middleware.ratelimit.redis import RedisLimiter
from sipup_middleware.redis_pool import MAX_CONNECTIONS
from sipup_middleware.services.process import Nest
from sipup_middleware.services.valkey import _runnable, find_valkey
from sipup_middleware.telemetry import BackendLost, BackendRestored
from tests.asgi import get, lifespan
from tests.ratelimit.doubles import rule
from tests.ratelimit.test_live import PATIENT, limited, statuses

pytestmark = pytest.mark.live

DEADLINE = 30.0
SENTINEL = """
port {port}
bind 127.0.0.1
dir {home}
sentinel monitor shop 127.0.0.1 {master} 1
sentinel down-after-milliseconds shop 500
sentinel failover-timeout shop 5000
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(port: int, *command: str) -> Any:
    with redis.Redis(host="127.0.0.1", port=port, decode_responses=True, driver_info=None) as client:
        return client.execute_command(*command)


@dataclass
class Watched:
    """A master, its replica, and a sentinel; all of them end with the nest."""

    nest: Nest
    program: Path
    master: int = field(default_factory=free_port)
    replica: int = field(default_factory=free_port)
    sentinel: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel}/shop?db=0"

    def start(self) -> None:
        self._serve("master", self.master)
        self._serve("replica", self.replica, "--replicaof", f"127.0.0.1 {self.master}")
        self._wait(lambda: "'master_link_status': 'up'" in self._told(self.replica, "INFO", "replication"))
        said = self.nest.path / "sentinel.conf"
        said.write_text(SENTINEL.format(port=self.sentinel, home=self.nest.path, master=self.master))
        self.nest.account.take(said)
        self._spawn("sentinel", str(said), "--sentinel")
        self._wait(
            lambda: "'master-link-status', 'ok'" in self._told(self.sentinel, "SENTINEL", "REPLICAS", "shop")
        )

    def current(self) -> int:
        told = ask(self.sentinel, "SENTINEL", "MASTER", "shop")
        return int(told[told.index("port") + 1])

    def _serve(self, name: str, port: int, *words: str) -> None:
        quick = ("--save", "", "--repl-diskless-sync-delay", "0", "--dir", str(self.nest.path))
        self._spawn(name, "--port", str(port), "--bind", "127.0.0.1", *quick, *words)
        self._wait(lambda: self._told(port, "PING") == "True")

    def _spawn(self, name: str, *words: str) -> None:
        self.nest.spawn(name, [self.program, *words], ending=signal.SIGKILL)

    def _told(self, port: int, *command: str) -> str:
        with suppress(redis.ConnectionError):
            return str(ask(port, *command))
        return ""

    def _wait(self, happened: Callable[[], bool]) -> None:
        assert self.nest.wait(happened, within=DEADLINE)


@contextmanager
def running() -> Iterator[Watched]:
    with ExitStack() as cleanup:
        nest = Nest()
        cleanup.callback(nest.close)
        made = Watched(nest, _runnable(find_valkey(), nest))
        made.start()
        yield made


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Servers of this test's own, to kill."""
    with running() as made:
        yield made


@pytest.fixture(scope="module")
def steady() -> Iterator[Watched]:
    """Servers for tests that leave them running."""
    with running() as made:
        yield made


async def test_when_the_master_dies_limits_are_local_until_there_is_another(watched: Watched) -> None:
    wrapped = limited(watched.url, "50000/hour")

    async with lifespan(wrapped.app):
        assert await statuses(wrapped, 3) == [200] * 3
        await run_sync(watched.nest.crash, "master")
        with anyio.fail_after(DEADLINE):
            while not wrapped.gauge("ratelimit.degraded"):
                assert await statuses(wrapped, 1) == [200]
            while wrapped.gauge("ratelimit.degraded"):
                assert await statuses(wrapped, 1) == [200]
                await anyio.sleep(0.05)
        before = await run_sync(ask, watched.replica, "DBSIZE")
        left = int((await get(wrapped.app)).headers["x-ratelimit-remaining"])

    assert await run_sync(watched.current) == watched.replica
    assert before == 1
    assert left < 50000 - 3
    assert [type(fact) for fact in wrapped.facts] == [BackendLost, BackendRestored]


async def test_a_master_that_was_demoted_is_left_for_the_new_one_without_an_outage(watched: Watched) -> None:
    wrapped = limited(watched.url, "50000/hour")

    async with lifespan(wrapped.app):
        await statuses(wrapped, 3)
        await run_sync(ask, watched.sentinel, "SENTINEL", "FAILOVER", "shop")
        with anyio.fail_after(DEADLINE):
            while await run_sync(watched.current) != watched.replica:  # noqa: ASYNC110 (nobody tells us)
                await anyio.sleep(0.05)
        await run_sync(ask, watched.master, "REPLICAOF", "127.0.0.1", str(watched.replica))
        await run_sync(ask, watched.replica, "FLUSHALL")
        left = int((await get(wrapped.app)).headers["x-ratelimit-remaining"])
        counted = await run_sync(ask, watched.replica, "DBSIZE")

    assert (left, counted) == (50000 - 1, 1)
    assert wrapped.facts == []


async def test_a_sentinel_that_hangs_does_not_hide_the_others(steady: Watched) -> None:
    only = rule((5, 3600), name=uuid4().hex)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = steady.url.replace("//", f"//127.0.0.1:{silent.getsockname()[1]},")
        limiter = RedisLimiter(here(), url, [only], timeout=2)
        decisions = [await limiter.decide([(only, "a")]) for _ in range(3)]
        await limiter.aclose()

    assert [each.remaining for each in decisions] == [4, 3, 2]


async def test_no_more_connections_are_opened_than_to_one_server(steady: Watched) -> None:
    only = rule((1000, 3600), name=uuid4().hex)
    limiter = RedisLimiter(here(), steady.url, [only], timeout=PATIENT)

    async with anyio.create_task_group() as tasks:
        for _ in range(10 * MAX_CONNECTIONS):
            tasks.start_soon(limiter.decide, [(only, "a")])
    clients = await run_sync(ask, steady.master, "CLIENT", "LIST", "TYPE", "normal")
    (told,) = await limiter.peek([(only, "a")])
    await limiter.aclose()

    assert told.remaining == 1000 - 10 * MAX_CONNECTIONS
    assert (
        sum("cmd=evalsha" in line or "cmd=eval" in line for line in str(clients).splitlines())
        <= MAX_CONNECTIONS
    )
