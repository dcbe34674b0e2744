"""Rates that a function gives: one for each plan, none for the free, the default where it fails."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from starlette.types import Scope

from sipup_middleware import Limit, by_ip
from sipup_middleware.asgi import header
from sipup_middleware.ratelimit.rates import RECOVERED
from sipup_middleware.telemetry import LimitFellBack
from tests.asgi import get, hello
from tests.ratelimit.doubles import Wrapped, wrap

PLANS = {b"gold": "5/minute", b"silver": "2/minute", b"lead": "lots", b"odd": 5, b"list": []}


def plan(scope: Scope) -> Any:
    name = header(scope, b"x-plan")
    if name == b"broken":
        raise TimeoutError
    return None if name is None else PLANS[name]


def planned(**options: Any) -> Wrapped:
    return wrap(hello, Limit(plan, key=by_ip, name="plan", **options))


async def on(wrapped: Wrapped, name: str, times: int, **scope: Any) -> list[int]:
    headers = [("X-Plan", name)]
    return [(await get(wrapped.app, headers=headers, **scope)).status for _ in range(times)]


async def test_each_request_meets_the_rate_of_its_plan() -> None:
    wrapped = planned()

    assert await on(wrapped, "gold", 6, client="192.0.2.1") == [200] * 5 + [429]
    assert await on(wrapped, "silver", 3, client="192.0.2.2") == [200] * 2 + [429]


async def test_a_plan_of_none_is_free_and_told_no_quota() -> None:
    wrapped = planned()

    replies = [await get(wrapped.app) for _ in range(200)]

    assert {reply.status for reply in replies} == {200}
    assert not [name for name in replies[0].headers if "ratelimit" in name]


async def test_the_quota_told_is_the_one_of_the_plan() -> None:
    wrapped = planned()

    gold = await get(wrapped.app, headers=[("X-Plan", "gold")])
    silver = await get(wrapped.app, headers=[("X-Plan", "silver")], client="192.0.2.2")

    assert gold.headers["ratelimit-policy"] == '"plan";q=5;w=60'
    assert silver.headers["ratelimit-policy"] == '"plan";q=2;w=60'
    assert [reply.headers["x-ratelimit-limit"] for reply in (gold, silver)] == ["5", "2"]
    assert silver.headers["ratelimit"] == '"plan";r=1;t=60'


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("broken", "TimeoutError"),
        ("unknown", "KeyError"),
        ("lead", "ConfigurationError"),
        ("odd", "ConfigurationError"),
        ("list", "TypeError"),
    ],
)
async def test_where_the_plan_cannot_be_told_the_default_holds_and_that_is_told_once(
    name: str, error: str
) -> None:
    wrapped = planned(default="3/minute")

    seen = await on(wrapped, name, 4)

    assert seen == [200] * 3 + [429]
    assert [fact for fact in wrapped.facts if isinstance(fact, LimitFellBack)] == [
        LimitFellBack("plan", error)
    ]


async def test_a_failure_after_a_recovery_is_told_again() -> None:
    wrapped = planned(shadow=True)

    for name, times in (("broken", 2), ("gold", RECOVERED), ("broken", 2)):
        await on(wrapped, name, times)

    assert [type(fact) for fact in wrapped.facts] == [LimitFellBack] * 2


async def test_a_function_that_fails_for_some_is_told_of_once() -> None:
    wrapped = planned(shadow=True)

    for _ in range(3 * RECOVERED):
        await on(wrapped, "gold", 1)
        await on(wrapped, "broken", 1)

    assert [type(fact) for fact in wrapped.facts] == [LimitFellBack]


async def test_of_64_rates_all_are_known_and_every_further_one_is_the_default() -> None:
    rates = count(100)
    wrapped = wrap(hello, Limit(lambda _: f"{next(rates)}/minute", key=by_ip, name="plan", default="7/hour"))

    policies = [(await get(wrapped.app)).headers["ratelimit-policy"] for _ in range(70)]

    assert policies == [f'"plan";q={100 + n};w=60' for n in range(64)] + ['"plan";q=7;w=3600'] * 6
    assert wrapped.facts == [LimitFellBack("plan", "ConfigurationError")]


async def test_a_cost_above_a_small_plan_takes_all_there_is() -> None:
    wrapped = planned(cost=4)

    assert await on(wrapped, "silver", 2) == [200, 429]


async def test_a_plan_may_be_tried_in_shadow() -> None:
    wrapped = planned(shadow=True)

    assert await on(wrapped, "silver", 9) == [200] * 9
    assert wrapped.count("ratelimit.decisions", decision="shadowed") == 7
