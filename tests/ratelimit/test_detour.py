"""Behind a balancer that nobody named: no client pays for all of them, and the owner hears of it."""

from __future__ import annotations

import pickle
from typing import Any

import anyio
import pytest

from sipup_middleware.ratelimit import ClientIP, Limit, LoadShed, RateLimit, by_ip, by_user
from sipup_middleware.ratelimit.balancer import EVIDENCE
from sipup_middleware.telemetry import Telemetry, WarningRaised
from tests.asgi import get, hello
from tests.ratelimit.doubles import Clock, Wrapped, wrap

LINE = 'ClientIP(trusted=["10.1.2.3/32"])'


async def forwarded(app: Any, times: int, *, peer: str = "10.1.2.3", **scope: Any) -> list[int]:
    return [
        (await get(app, client=peer, headers=[("X-Forwarded-For", f"198.51.100.{n % 200}")], **scope)).status
        for n in range(times)
    ]


def warnings(wrapped: Wrapped) -> list[str]:
    return [fact.message for fact in wrapped.facts if isinstance(fact, WarningRaised)]


async def test_the_default_limit_by_address_refuses_nobody_behind_one() -> None:
    wrapped = wrap(hello)

    assert set(await forwarded(wrapped.app, 500)) == {200}
    assert wrapped.count("ratelimit.decisions", decision="shadowed") > 0


async def test_one_warning_says_what_to_write() -> None:
    wrapped = wrap(hello)

    await forwarded(wrapped.app, 500)

    (message,) = (each for each in warnings(wrapped) if "balancer" in each)
    assert LINE in message


async def test_readiness_warns_and_says_what_to_write() -> None:
    wrapped = wrap(hello)
    check = wrapped.telemetry.checks["ratelimit:client_ip"]
    before = await check.probe()

    await forwarded(wrapped.app, EVIDENCE)
    after = await check.probe()

    assert before is not None
    assert before.status == "pass"
    assert after is not None
    assert after.status == "warn"
    assert LINE in after.output
    assert not check.critical


async def test_what_it_says_of_its_quota_leaves_the_shadowed_limit_out() -> None:
    wrapped = wrap(hello)
    await forwarded(wrapped.app, EVIDENCE)

    reply = await get(
        wrapped.app, client="10.1.2.3", headers=[("X-Forwarded-For", "x"), ("X-API-Key", "alice")]
    )

    assert reply.headers["ratelimit"].startswith('"user";r=999;')
    assert reply.headers["ratelimit-policy"] == '"user";q=1000;w=3600'


async def test_the_limits_that_you_wrote_still_hold() -> None:
    mine = Limit("20/minute", key=by_ip, name="mine")
    wrapped = wrap(hello, *RateLimit().limits, mine)

    seen = await forwarded(wrapped.app, 30)

    assert seen == [200] * 20 + [429] * 10


async def test_the_default_written_by_hand_is_yours_and_holds() -> None:
    wrapped = wrap(hello, Limit("100/minute", key=by_ip, name="ip"), Limit("1000/hour", key=by_user))

    seen = await forwarded(wrapped.app, 101)

    assert seen == [200] * 100 + [429]
    assert "ratelimit:client_ip" not in wrapped.telemetry.checks


async def test_the_limit_by_user_still_holds_behind_one() -> None:
    wrapped = wrap(hello, user=lambda _: "alice")

    seen = await forwarded(wrapped.app, 1001)

    assert seen == [200] * 1000 + [429]


@pytest.mark.parametrize("peer", ["192.0.2.1", "198.51.100.7", "2001:db8::1"])
async def test_a_client_on_the_internet_cannot_feign_one(peer: str) -> None:
    wrapped = wrap(hello)

    seen = await forwarded(wrapped.app, 150, peer=peer)

    assert seen == [200] * 100 + [429] * 50
    assert not warnings(wrapped)


async def test_a_client_that_comes_past_the_balancer_is_limited() -> None:
    wrapped = wrap(hello)
    await forwarded(wrapped.app, 50)

    seen = [(await get(wrapped.app, client="192.0.2.1")).status for _ in range(101)]

    assert seen == [200] * 100 + [429]


async def test_who_names_the_balancer_is_not_guessed_about() -> None:
    wrapped = wrap(hello, client_ip=ClientIP(trusted=["10.1.2.3/32"]))

    seen = [
        (await get(wrapped.app, client="10.1.2.3", headers=[("X-Forwarded-For", "198.51.100.7")])).status
        for _ in range(101)
    ]

    assert seen == [200] * 100 + [429]
    assert "ratelimit:client_ip" not in wrapped.telemetry.checks


async def test_a_copy_that_was_pickled_knows_that_nobody_wrote_its_limits() -> None:
    layer: RateLimit = pickle.loads(pickle.dumps(RateLimit()))
    layer._local.clock = Clock()

    seen = await forwarded(layer(hello, telemetry=Telemetry()), 300)

    assert layer == RateLimit()
    assert set(seen) == {200}


async def test_a_balancer_is_not_shed_for_being_one_client() -> None:
    finish = anyio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await finish.wait()
        await hello(scope, receive, send)

    wrapped = wrap(slow, shed=LoadShed(max_per_client=2))
    await forwarded(wrapped.app, EVIDENCE)
    seen: list[int] = []

    async def ask() -> None:
        seen.extend(await forwarded(wrapped.app, 1, path="/slow"))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        finish.set()

    assert seen == [200] * 5
