"""A real Valkey: what it is sent, what it keeps, and what happens when it goes away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import uuid4

import anyio
import pytest
import redis
from anyio.to_thread import run_sync
from starlette.types import ASGIApp

from sipup_middleware import Limit, by_ip, by_user
from sipup_middleware.bridge import here
from sipup_middleware.errors import StoreUnavailable
from sipup_middleware.ratelimit import Backoff
from sipup_middleware.ratelimit.redis import RedisLimiter
from sipup_middleware.redis_pool import MAX_CONNECTIONS
from sipup_middleware.services import Valkey, run_services
from sipup_middleware.telemetry import BackendLost, BackendRestored, ClientBanned
from tests.asgi import get, hello, lifespan
from tests.ratelimit.doubles import Clock, Wrapped, rule, wrap

pytestmark = pytest.mark.live

PATIENT = 10.0
"""Seconds of storage_timeout, where a slow machine must not look like an outage."""


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A server of this test's own."""
    with run_services(postgres=False, environ={}) as running:
        assert running.valkey
        yield running.valkey


def limited(url: str, *rates: str, **options: Any) -> Wrapped:
    """An app with limits of names that no other test uses."""
    limits = [Limit(rate, key=by_ip, name=uuid4().hex) for rate in rates]
    return wrap(hello, *limits, **{"storage": url, "storage_timeout": PATIENT, **options})


@asynccontextmanager
async def limiter(url: str, *rules: Any) -> AsyncIterator[RedisLimiter]:
    made = RedisLimiter(here(), url, rules, timeout=PATIENT)
    try:
        yield made
    finally:
        await made.aclose()


async def statuses(wrapped: Wrapped, times: int) -> list[int]:
    return [(await get(wrapped.app)).status for _ in range(times)]


async def test_workers_share_their_counts(redis_url: str) -> None:
    limits = [Limit("5/hour", key=by_ip, name=uuid4().hex)]
    first, second = (wrap(hello, *limits, storage=redis_url, storage_timeout=PATIENT) for _ in range(2))

    async with lifespan(first.app), lifespan(second.app):
        seen = await statuses(first, 3) + await statuses(second, 3)

    assert seen == [200] * 5 + [429]


async def test_it_works_without_a_lifespan(redis_url: str) -> None:
    assert await statuses(limited(redis_url, "2/hour"), 3) == [200, 200, 429]


async def test_of_200_requests_at_once_exactly_30_pass(redis_url: str) -> None:
    wrapped = limited(redis_url, "30/hour")
    seen: list[int] = []

    async def ask() -> None:
        seen.append((await get(wrapped.app)).status)

    async with lifespan(wrapped.app), anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(ask)

    assert (seen.count(200), seen.count(429)) == (30, 170)


ONE_PROCESS = """
import sys, anyio
from tests.asgi import get, hello, lifespan
from tests.ratelimit.doubles import wrap
from sipup_middleware import Limit, by_ip

async def main():
    limit = Limit("30/hour", key=by_ip, name=sys.argv[2])
    wrapped = wrap(hello, limit, storage=sys.argv[1], storage_timeout=10)
    seen = []
    async def ask():
        seen.append((await get(wrapped.app)).status)
    async with lifespan(wrapped.app), anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)
    print(seen.count(200))

anyio.run(main)
"""


def test_of_200_requests_to_two_processes_exactly_30_pass(redis_url: str) -> None:
    command = [sys.executable, "-c", ONE_PROCESS, redis_url, uuid4().hex]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    passed = [int(worker.communicate(timeout=60)[0]) for worker in workers]

    assert sum(passed) == 30


async def test_a_request_is_one_command_for_three_limits_and_an_exempt_one_none(valkey: Valkey) -> None:
    wrapped = limited(valkey.url, "100/minute", "1000/hour", "5000/day")
    async with lifespan(wrapped.app):
        await statuses(wrapped, 1)
        commands = await run_sync(Monitor, valkey.url)
        await statuses(wrapped, 10)
        await get(wrapped.app, "/_health")
        sent = await run_sync(commands.stop)

    assert [command.split()[0] for command in sent] == ["EVALSHA"] * 10


class Monitor:
    """Every command that clients send; what a script calls is not one."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, driver_info=None)
        self._monitor: Any = self._client.monitor()  # type: ignore[no-untyped-call]  # (redis-py)
        self._monitor.__enter__()

    def stop(self) -> list[str]:
        self._client.echo("stop")
        sent: list[str] = []
        while not (entry := self._monitor.next_command())["command"].startswith("ECHO"):
            if entry["client_type"] != "lua":
                sent.append(entry["command"])
        self._monitor.__exit__(None, None, None)
        self._client.close()
        return sent


def read(url: str, *command: str) -> Any:
    with redis.Redis.from_url(url, driver_info=None) as client:
        return client.execute_command(*command)


def three_limits(url: str, app: ASGIApp = hello, **options: Any) -> Wrapped:
    """Limits of three strategies with headers and bans; of names that no other test uses."""
    name = uuid4().hex
    limits = [
        Limit("3/hour", key=by_ip, name=f"{name}.a"),
        Limit("1000/day", key=by_ip, name=f"{name}.b", strategy="fixed"),
        Limit("600/minute", key=by_ip, name=f"{name}.c", burst=50),
    ]
    backoff = Backoff(**{"after": 3, "base": 60, "jitter": 0, **options.pop("backoff", {})})
    return wrap(app, *limits, backoff=backoff, storage=url, storage_timeout=PATIENT, **options)


@asynccontextmanager
async def commands_of(url: str) -> AsyncIterator[list[str]]:
    """What clients send meanwhile, by their names; known when it is over."""
    names: list[str] = []
    monitor = await run_sync(Monitor, url)
    yield names
    names += [command.split()[0] for command in await run_sync(monitor.stop)]


async def test_a_request_is_one_command_for_three_limits_headers_and_bans(valkey: Valkey) -> None:
    wrapped = three_limits(valkey.url)

    async with lifespan(wrapped.app):
        async with commands_of(valkey.url) as served:
            replies = [await get(wrapped.app) for _ in range(3)]
        async with commands_of(valkey.url) as others:
            await statuses(wrapped, 1)
            await get(wrapped.app, client="192.0.2.2")

    assert served == ["EVALSHA"] * 3
    assert others == ["EVALSHA"] * 2
    assert all("ratelimit" in reply.headers for reply in replies)


async def test_who_was_refused_a_moment_ago_costs_no_command(valkey: Valkey) -> None:
    wrapped = three_limits(valkey.url)

    async with lifespan(wrapped.app):
        await statuses(wrapped, 4)
        async with commands_of(valkey.url) as sent:
            seen = await statuses(wrapped, 50)

    assert seen == [429] * 50
    assert sent == []


async def test_a_ban_costs_no_command_either_nor_does_an_exempt_path(valkey: Valkey) -> None:
    wrapped = three_limits(valkey.url, backoff={"after": 0})

    async with lifespan(wrapped.app):
        await statuses(wrapped, 3)
        banned = await get(wrapped.app)
        async with commands_of(valkey.url) as sent:
            seen = await statuses(wrapped, 50)
            health = await get(wrapped.app, "/_health")

    assert banned.json()["type"].endswith("abnormal-usage-detected")
    assert (seen, health.status) == ([429] * 50, 200)
    assert sent == []
    assert [type(fact) for fact in wrapped.facts].count(ClientBanned) == 1


async def unwelcome(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send({"type": "http.response.start", "status": 401, "headers": []})
    await send({"type": "http.response.body"})


async def test_a_response_that_strikes_is_one_command_more(valkey: Valkey) -> None:
    wrapped = three_limits(valkey.url, app=unwelcome, backoff={"after": 9, "strike_on": {401}})

    async with lifespan(wrapped.app):
        await statuses(wrapped, 1)
        async with commands_of(valkey.url) as sent:
            await statuses(wrapped, 2)

    assert sent == ["EVALSHA"] * 4


async def test_a_response_that_counts_is_one_command_more(valkey: Valkey) -> None:
    login = Limit("3/hour", key=by_ip, name=uuid4().hex, count_when=lambda status: status == 401)
    wrapped = wrap(unwelcome, login, storage=valkey.url, storage_timeout=PATIENT)

    async with lifespan(wrapped.app):
        await statuses(wrapped, 1)
        async with commands_of(valkey.url) as sent:
            seen = await statuses(wrapped, 2)
        refused = await statuses(wrapped, 1)

    assert sent == ["EVALSHA"] * 4
    assert (seen, refused) == ([401, 401], [429])


async def test_a_response_that_counts_and_strikes_is_one_command_more(valkey: Valkey) -> None:
    limits = [
        Limit("2/hour", key=by_ip, name=uuid4().hex, count_when=lambda status: status == 401),
        Limit("100/hour", key=by_ip, name=uuid4().hex),
    ]
    backoff = Backoff(after=9, strike_on={401})
    wrapped = wrap(unwelcome, *limits, storage=valkey.url, storage_timeout=PATIENT, backoff=backoff)

    async with lifespan(wrapped.app):
        await statuses(wrapped, 1)
        async with commands_of(valkey.url) as sent:
            seen = await statuses(wrapped, 1)
        refused = await statuses(wrapped, 1)

    assert sent == ["EVALSHA"] * 2
    assert (seen, refused) == ([401], [429])


async def test_a_client_that_one_worker_lets_in_is_served_by_all(valkey: Valkey) -> None:
    name = uuid4().hex
    limit = Limit("1/hour", key=by_ip, name=name)
    options: dict[str, Any] = {"storage": valkey.url, "storage_timeout": PATIENT, "backoff": Backoff()}
    first, second = (wrap(hello, limit, **options) for _ in range(2))
    clock = Clock()

    async with lifespan(first.app), lifespan(second.app), first.layer.open() as limits:
        await limits.ban("192.0.2.1", 600)
        second.layer.handle()._denied._clock = clock
        banned = await statuses(first, 1) + await statuses(second, 1)
        await limits.unban("192.0.2.1")
        at_once = await statuses(first, 1)
        await limits.reset(name, "192.0.2.1")
        clock.now += 5
        within_five_seconds = await statuses(second, 1)

    assert (banned, at_once, within_five_seconds) == ([429, 429], [200], [200])


async def test_every_key_is_ours_expires_and_names_nobody(valkey: Valkey) -> None:
    wrapped = wrap(
        hello,
        Limit("100/minute", key=by_ip),
        Limit("1000/hour", key=by_user),
        storage=valkey.url,
        storage_timeout=PATIENT,
        user=lambda _: "alice{x}/",
    )
    async with lifespan(wrapped.app):
        await get(wrapped.app, client="192.0.2.77")

    keys = [key.decode() for key in await run_sync(read, valkey.url, "KEYS", "*")]
    lives = [await run_sync(read, valkey.url, "PTTL", key) for key in keys]

    assert len(keys) == 2
    assert all(key.startswith(("sip:1:l:ip:60:", "sip:1:l:user:3600:")) and len(key) < 64 for key in keys)
    assert not [key for key in keys if "192.0.2.77" in key or "alice" in key]
    assert all(0 < life <= 7_200_000 for life in lives)


async def test_a_script_that_the_server_forgot_is_sent_again(valkey: Valkey) -> None:
    only = rule((5, 3600))

    async with limiter(valkey.url, only) as made:
        await made.decide([(only, "a")])
        await run_sync(read, valkey.url, "SCRIPT", "FLUSH")
        decision = await made.decide([(only, "a")])

    assert decision.remaining == 3


@pytest.mark.parametrize(
    ("command", "error"),
    [("CONFIG SET maxmemory 1", "OOM"), ("REPLICAOF localhost 1", "READONLY")],
)
async def test_what_a_server_refuses_is_an_outage(valkey: Valkey, command: str, error: str) -> None:
    only = rule((5, 3600))

    async with limiter(valkey.url, only) as made:
        await made.decide([(only, "a")])
        await run_sync(read, valkey.url, *command.split())
        with pytest.raises(StoreUnavailable, match=error):
            await made.decide([(only, "a")])


async def test_a_foreign_value_under_a_key_of_ours_counts_as_none(valkey: Valkey) -> None:
    only = rule((5, 3600))

    async with limiter(valkey.url, only) as made:
        await made.decide([(only, "a")])
        (key,) = await run_sync(read, valkey.url, "KEYS", "*")
        await run_sync(read, valkey.url, "SET", key, "gibberish")

        assert (await made.decide([(only, "a")])).remaining == 4


async def test_a_server_that_never_answers_costs_the_timeout_and_then_nothing(tmp_path: Any) -> None:
    accepted: list[Any] = []

    async def swallow(stream: Any) -> None:
        accepted.append(stream)
        async with stream:
            await anyio.sleep_forever()

    async with (
        await anyio.create_unix_listener(tmp_path / "hole.sock") as hole,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(hole.serve, swallow)
        wrapped = limited(f"unix://{tmp_path}/hole.sock", "5/hour", storage_timeout=0.05)
        async with lifespan(wrapped.app):
            with anyio.fail_after(5):
                seen = await statuses(wrapped, 100)
        tasks.cancel_scope.cancel()

    assert seen == [200] * 5 + [429] * 95
    assert [fact for fact in wrapped.facts if isinstance(fact, BackendLost)] == [
        BackendLost("ratelimit", "TimeoutError")
    ]
    assert len(accepted) <= 1 + 5 + 1


async def test_an_app_starts_without_its_server_and_finds_it_later(valkey: Valkey) -> None:
    await run_sync(valkey.stop)
    wrapped = limited(valkey.url, "50000/hour")

    async with lifespan(wrapped.app):
        assert await statuses(wrapped, 10) == [200] * 10
        assert wrapped.gauge("ratelimit.degraded") == 1
        await run_sync(valkey.start)
        with anyio.fail_after(30):
            while wrapped.gauge("ratelimit.degraded"):
                assert await statuses(wrapped, 1) == [200]
                await anyio.sleep(0.05)
        reading = await wrapped.telemetry.checks["ratelimit:storage"].probe()

    assert reading is not None
    assert reading.status == "pass"
    assert [type(fact) for fact in wrapped.facts] == [BackendLost, BackendRestored]


async def test_a_server_that_was_restarted_is_used_again_at_once(valkey: Valkey) -> None:
    wrapped = limited(valkey.url, "50/hour")

    async with lifespan(wrapped.app):
        await statuses(wrapped, 3)
        await run_sync(valkey.restart)
        left = (await get(wrapped.app)).headers["x-ratelimit-remaining"]

    assert left == "49"
    assert wrapped.facts == []


async def test_requests_cancelled_at_random_break_no_connection_and_leave_no_key_for_ever(
    valkey: Valkey,
) -> None:
    random = Random(3)  # noqa: S311 (any moments will do)
    only = rule((1_000_000, 3600))

    async def hurry(made: RedisLimiter, name: str) -> None:
        with anyio.move_on_after(random.uniform(0, 0.02)):
            await made.decide([(only, name)])

    async with limiter(valkey.url, only) as made:
        for _ in range(10):
            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(hurry, made, str(number))
        decisions = [await made.decide([(only, "late")]) for _ in range(MAX_CONNECTIONS + 4)]
        keys = await run_sync(read, valkey.url, "KEYS", "*")
        lives = [await run_sync(read, valkey.url, "PTTL", key) for key in keys]

    assert [each.remaining for each in decisions] == [1_000_000 - n - 1 for n in range(len(decisions))]
    assert all(life > 0 for life in lives)
