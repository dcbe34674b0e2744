"""A server that answers, but not what it was asked: an outage like any other, and no client sees an error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anyio.to_thread import run_sync

from sipup_middleware import Limit, by_ip
from sipup_middleware.bridge import here
from sipup_middleware.errors import StoreUnavailable
from sipup_middleware.ratelimit import Backoff
from sipup_middleware.ratelimit.redis import RedisLimiter
from sipup_middleware.services import Valkey, run_services
from sipup_middleware.services.process import Nest
from sipup_middleware.telemetry import BackendLost, BackendRestored
from tests.asgi import get, hello, lifespan
from tests.ratelimit.doubles import Wrapped, rule, wrap
from tests.ratelimit.test_live import PATIENT, read, statuses

pytestmark = pytest.mark.live

REFUSALS = [
    pytest.param("CONFIG SET maxmemory 1", "OOM", id="OOM"),
    pytest.param("REPLICAOF localhost 1", "READONLY", id="READONLY"),
    pytest.param("ACL SETUSER default -eval -evalsha", "NOPERM", id="NOPERM"),
]
NO_ROOM, ROOM = "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A server of this test's own."""
    with run_services(postgres=False, environ={}) as running:
        assert running.valkey
        yield running.valkey


@pytest.fixture
def cluster() -> Iterator[str]:
    """The URL of a cluster of one node, which has every slot."""
    nest = Nest()
    try:
        node = Valkey(nest, settings={"cluster-enabled": "yes"})
        node.start()
        read(node.url, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        yield node.url
    finally:
        nest.close()


def limited(url: str) -> Wrapped:
    """Three limits of three counters, and bans."""
    limits = (
        Limit("3/hour", key=by_ip, name="a"),
        Limit("1000/day", key=by_ip, name="b", strategy="fixed"),
        Limit("600/minute", key=by_ip, name="c", burst=50),
    )
    return wrap(hello, *limits, storage=url, storage_timeout=PATIENT, backoff=Backoff(after=99))


@pytest.mark.parametrize(("command", "code"), REFUSALS)
async def test_what_a_server_refuses_is_counted_in_process_and_told_once(
    valkey: Valkey, command: str, code: str
) -> None:
    wrapped = limited(valkey.url)

    async with lifespan(wrapped.app):
        await run_sync(read, valkey.url, *command.split())
        seen = await statuses(wrapped, 8)

    assert seen == [200] * 3 + [429] * 5
    assert [fact for fact in wrapped.facts if isinstance(fact, BackendLost)] == [
        BackendLost("ratelimit", code)
    ]


async def test_keys_of_several_slots_are_an_outage_of_a_cluster(cluster: str) -> None:
    wrapped = limited(cluster)

    async with lifespan(wrapped.app):
        seen = await statuses(wrapped, 8)

    assert seen == [200] * 3 + [429] * 5
    assert [fact for fact in wrapped.facts if isinstance(fact, BackendLost)] == [
        BackendLost("ratelimit", "CROSSSLOT")
    ]


async def test_what_a_cluster_refuses_is_an_outage_whatever_was_asked(cluster: str) -> None:
    early, late = rule((5, 60), name="a", who="ip"), rule((5, 60), name="b", who="ip", late=True)
    limiter = RedisLimiter(here(), cluster, [early, late], timeout=PATIENT, backoff=Backoff())

    for ask in (
        lambda: limiter.decide([(early, "x"), (late, "x")]),
        lambda: limiter.peek([(early, "x"), (late, "x")]),
        lambda: limiter.count_and_strike([(late, "x")], "ip", "x"),
    ):
        with pytest.raises(StoreUnavailable, match=r"^CROSSSLOT$"):
            await ask()
    await limiter.aclose()


async def test_a_server_that_has_room_again_is_used_again(valkey: Valkey) -> None:
    wrapped = limited(valkey.url)
    clock = wrapped.clock
    wrapped.layer._breaker._clock = clock

    async with lifespan(wrapped.app):
        await run_sync(read, valkey.url, *NO_ROOM.split())
        without = [(await get(wrapped.app, client=f"192.0.2.{n}")).status for n in range(10)]
        await run_sync(read, valkey.url, *ROOM.split())
        clock.now += 60
        again = (await get(wrapped.app)).headers["x-ratelimit-remaining"]

    assert (without, again) == ([200] * 10, "2")
    assert [type(fact) for fact in wrapped.facts] == [BackendLost, BackendRestored]


async def test_scripts_that_are_flushed_again_and_again_are_no_outage(valkey: Valkey) -> None:
    wrapped = limited(valkey.url)

    async with lifespan(wrapped.app):
        seen = []
        for _ in range(4):
            await run_sync(read, valkey.url, "SCRIPT", "FLUSH")
            seen += await statuses(wrapped, 1)

    assert seen == [200] * 3 + [429]
    assert not [fact for fact in wrapped.facts if isinstance(fact, BackendLost)]
