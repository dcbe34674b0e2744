"""What a response says of its client: attempts that count when they fail, and strikes."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sipup_middleware.ratelimit import Backoff, Limit, by_ip, by_user
from sipup_middleware.telemetry import ClientBanned
from tests.asgi import Exchange, get, http_scope
from tests.ratelimit.doubles import Wrapped, five_a_minute, wrap


class Door:
    """Answers as the path says, and counts how often it was asked."""

    asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        status = scope["path"].strip("/")
        if status == "fail":
            raise LookupError
        await send({"type": "http.response.start", "status": int(status), "headers": []})
        if scope["query_string"] == b"half":
            raise LookupError
        await send({"type": "http.response.body"})


def guarded(**options: Any) -> tuple[Wrapped, Door]:
    door = Door()
    bad = Limit("10/minute", key=by_ip, name="login", count_when=lambda status: status in {401, 403, 500})
    return wrap(door, bad, **options), door


async def answers(wrapped: Wrapped, status: str, times: int, **scope: Any) -> list[int]:
    seen = []
    for _ in range(times):
        exchange = Exchange()
        try:
            await wrapped.app(http_scope(f"/{status}", **scope), exchange.receive, exchange.send)
        except LookupError:
            seen.append(0)
        else:
            seen.append(exchange.status)
    return seen


async def test_good_logins_are_free_and_after_ten_bad_ones_the_door_is_shut_unasked() -> None:
    wrapped, door = guarded()

    good = await answers(wrapped, "200", 20)
    bad = await answers(wrapped, "401", 10)
    refused = await answers(wrapped, "200", 1)

    assert (good, bad, refused) == ([200] * 20, [401] * 10, [429])
    assert door.asked == 30


async def test_a_mixture_of_bad_answers_counts_together() -> None:
    wrapped, _ = guarded()

    for status in ("401", "403"):
        await answers(wrapped, status, 5)

    assert await answers(wrapped, "200", 1) == [429]


async def test_an_exception_counts_as_a_500() -> None:
    wrapped, door = guarded()

    await answers(wrapped, "fail", 10)

    assert await answers(wrapped, "200", 1) == [429]
    assert door.asked == 10


async def test_an_answer_that_breaks_off_counts_as_what_it_began_as() -> None:
    wrapped, _ = guarded()

    await answers(wrapped, "200", 10, query="half")

    assert await answers(wrapped, "401", 1) == [401]


async def test_the_quota_told_is_what_was_left_before_the_answer() -> None:
    wrapped, _ = guarded()

    told = [(await get(wrapped.app, path)).headers["x-ratelimit-remaining"] for path in ("/401",) * 3]

    assert told == ["10", "9", "8"]


async def test_an_attempt_is_counted_before_its_client_has_the_answer() -> None:
    wrapped, door = guarded()
    await answers(wrapped, "401", 9)
    after: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            after.extend(await answers(wrapped, "401", 1))

    await wrapped.app(http_scope("/401"), Exchange().receive, send)

    assert after == [429]
    assert door.asked == 10


async def test_attempts_at_once_are_all_counted() -> None:
    wrapped, _ = guarded()

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(answers, wrapped, "401", 1)

    assert await answers(wrapped, "200", 1) == [429]


async def test_a_limit_in_shadow_counts_bad_answers_and_refuses_nobody() -> None:
    door = Door()
    wrapped = wrap(door, Limit("2/minute", key=by_ip, count_when=lambda status: status == 401, shadow=True))

    assert await answers(wrapped, "401", 5) == [401] * 5
    assert wrapped.count("ratelimit.decisions", decision="shadowed") == 3


async def test_statuses_that_are_strikes_lead_to_a_ban_that_is_told_once() -> None:
    door = Door()
    wrapped = wrap(
        door, Limit("1000/minute", key=by_ip), backoff=Backoff(after=2, base=8, jitter=0, strike_on={401})
    )

    struck = await answers(wrapped, "401", 3)
    banned = await answers(wrapped, "200", 3)
    wrapped.clock.now += 8
    again = await answers(wrapped, "200", 1)

    assert (struck, banned, again) == ([401] * 3, [429] * 3, [200])
    assert door.asked == 4
    assert [fact.seconds for fact in wrapped.facts if isinstance(fact, ClientBanned)] == [8]


@pytest.mark.parametrize("status", ["200", "404", "500"])
async def test_other_statuses_are_none(status: str) -> None:
    wrapped = wrap(Door(), Limit("1000/minute", key=by_ip), backoff=Backoff(after=0, strike_on={401}))

    assert await answers(wrapped, status, 20) == [int(status)] * 20


async def test_a_strike_is_held_against_one_client_alone() -> None:
    wrapped = wrap(Door(), five_a_minute(), backoff=Backoff(after=0, base=60, jitter=0, strike_on={401}))

    await answers(wrapped, "401", 1, client="192.0.2.1")

    assert await answers(wrapped, "200", 1, client="192.0.2.1") == [429]
    assert await answers(wrapped, "200", 1, client="192.0.2.2") == [200]


async def test_a_user_who_is_struck_is_banned_from_every_address() -> None:
    wrapped = wrap(
        Door(),
        Limit("1000/hour", key=by_user),
        user=lambda _: "alice",
        backoff=Backoff(after=0, base=60, jitter=0, strike_on={401}),
    )

    await answers(wrapped, "401", 1, client="192.0.2.1")

    assert await answers(wrapped, "200", 1, client="192.0.2.2") == [429]


async def test_a_strike_bans_nobody_by_a_limit_in_shadow() -> None:
    wrapped = wrap(
        Door(), five_a_minute(shadow=True), backoff=Backoff(after=0, base=60, jitter=0, strike_on={401})
    )

    assert await answers(wrapped, "401", 5) == [401] * 5
    assert wrapped.facts == []


async def test_behind_a_balancer_that_nobody_named_a_strike_does_not_ban_everyone() -> None:
    wrapped = wrap(Door(), backoff=Backoff(after=0, base=60, jitter=0, strike_on={401}))
    forwarded = [("X-Forwarded-For", "198.51.100.7")]

    await answers(wrapped, "200", 20, client="10.1.2.3", headers=forwarded)
    seen = await answers(wrapped, "401", 5, client="10.1.2.3", headers=forwarded)

    assert seen == [401] * 5


async def test_in_shadow_no_ban_is_told_of() -> None:
    backoff = Backoff(after=0, base=60, jitter=0, strike_on={401})
    wrapped = wrap(Door(), five_a_minute(), mode="shadow", backoff=backoff)

    assert await answers(wrapped, "401", 9) == [401] * 9
    assert wrapped.facts == []
