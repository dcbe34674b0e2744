"""One limit: what may be said of it, and what that means to a client."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Scope

from sipup_middleware import ConfigurationError, Limit, RateLimit, by_header, by_ip, by_user
from tests.asgi import get, hello, request
from tests.ratelimit.doubles import Wrapped, five_a_minute, wrap

ANY: Any = object()


async def asked(wrapped: Wrapped, *paths: str, **scope: Any) -> list[int]:
    return [(await get(wrapped.app, path, **scope)).status for path in paths]


async def later(scope: Scope) -> str:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"strategy": "token-bucket"}, "strategy"),
        ({"burst": -1}, "burst"),
        ({"burst": 1.5}, "burst"),
        ({"burst": 9, "strategy": "sliding"}, "burst"),
        ({"burst": 9, "cost": 10}, "cost"),
        ({"cost": 1.5}, "cost"),
        ({"cost": "2"}, "cost"),
        ({"scope": "a b"}, "scope"),
        ({"scope": ""}, "scope"),
        ({"on_outage": "panic"}, "on_outage"),
        ({"default": "often"}, "default"),
        ({"messages": "0/second"}, "messages"),
        ({"messages": 20}, "messages"),
        ({"count_when": 401}, "count_when"),
        ({"unless": "staff"}, "unless"),
        ({"key": None}, "key"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_field(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"Limit\.{field}\b"):
        Limit("5/minute", **{"key": by_ip, **options})


@pytest.mark.parametrize("rate", ["often", "0/minute", "5/minute;9/hour"])
def test_a_burst_does_not_hide_a_rate_that_is_none(rate: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Limit\.rate"):
        Limit(rate, key=by_ip, burst=40)


@pytest.mark.parametrize("rate", [5, 5.0, None, ["5/minute"]])
def test_a_rate_is_a_text_or_a_function(rate: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Limit\.rate"):
        Limit(rate, key=by_ip)


@pytest.mark.parametrize("option", ["key", "rate", "count_when", "unless"])
def test_a_function_that_would_have_to_be_awaited_is_refused(option: str) -> None:
    options: dict[str, Any] = {"rate": "5/minute", "key": by_ip, "name": "mine", option: later}

    with pytest.raises(ConfigurationError, match=rf"Limit\.{option}\b"):
        Limit(**options)


def test_a_limit_keeps_what_an_iterator_gives_once() -> None:
    paths: Any = (path for path in ["/login"])
    methods: Any = (method for method in ["post"])

    limit = Limit("5/minute", key=by_ip, paths=paths, methods=methods)

    assert (limit.paths, limit.methods) == (("/login",), ("POST",))


@pytest.mark.parametrize(
    ("key", "name"), [(by_ip, "ip"), (by_user, "user"), (by_header("x-tenant"), "header")]
)
def test_it_is_named_after_its_key(key: Any, name: str) -> None:
    assert Limit("5/minute", key=key).name == name


async def test_a_burst_is_served_at_once_and_then_evenly() -> None:
    wrapped = wrap(hello, Limit("60/minute", key=by_ip, burst=5))

    seen = [await asked(wrapped, *["/"] * 7)]
    for _ in range(3):
        wrapped.clock.now += 1
        seen.append(await asked(wrapped, *["/"] * 2))

    assert seen == [[200] * 5 + [429] * 2] + [[200, 429]] * 3


async def test_without_a_burst_gcra_lends_the_amount() -> None:
    wrapped = wrap(hello, Limit("10/minute", key=by_ip, strategy="gcra"))

    seen = await asked(wrapped, *["/"] * 11)
    wrapped.clock.now += 6

    assert seen == [200] * 10 + [429]
    assert await asked(wrapped, "/", "/") == [200, 429]


@pytest.mark.parametrize("strategy", ["sliding", "gcra", "moving"])
async def test_the_turn_of_a_window_is_worth_no_second_quota(strategy: Any) -> None:
    wrapped = wrap(hello, Limit("100/minute", key=by_ip, strategy=strategy))
    wrapped.clock.now += 59.9

    before = await asked(wrapped, *["/"] * 100)
    wrapped.clock.now += 0.2
    after = await asked(wrapped, *["/"] * 100)

    assert before == [200] * 100
    assert after.count(200) <= 1


async def test_a_fixed_window_is_served_anew_at_its_turn() -> None:
    wrapped = wrap(hello, five_a_minute(strategy="fixed"))
    wrapped.clock.now += 59.9
    before = await asked(wrapped, *["/"] * 6)

    wrapped.clock.now += 0.2

    assert before == [200] * 5 + [429]
    assert await asked(wrapped, *["/"] * 6) == [200] * 5 + [429]


@pytest.mark.parametrize("strategy", ["sliding", "fixed", "gcra", "moving"])
@pytest.mark.parametrize("cost", [1, 7])
@pytest.mark.parametrize("start", [0.0, 0.001, 12.345, 59.999])
async def test_a_client_that_waits_as_long_as_it_was_told_is_served(
    strategy: Any, cost: int, start: float
) -> None:
    wrapped = wrap(hello, Limit("20/minute", key=by_ip, cost=cost, strategy=strategy))
    wrapped.clock.now += start
    while (refused := await get(wrapped.app)).status == 200:
        wrapped.clock.now += 0.31

    waits = int(refused.headers["retry-after"])
    wrapped.clock.now += waits

    assert waits >= 1
    assert await asked(wrapped, "/") == [200]


async def test_what_one_limit_refuses_costs_the_others_nothing() -> None:
    wrapped = wrap(
        hello, five_a_minute(), Limit("1/minute", key=by_ip, name="login", paths=["/login"], burst=1)
    )

    seen = await asked(wrapped, *["/login"] * 20)
    left = (await get(wrapped.app)).headers["ratelimit"]

    assert seen == [200] + [429] * 19
    assert left.startswith('"ip";r=3;')


async def test_limits_of_one_scope_share_what_there_is() -> None:
    wrapped = wrap(
        hello,
        Limit("3/minute", key=by_ip, name="search", scope="catalog", paths=["/search"]),
        Limit("3/minute", key=by_ip, name="browse", scope="catalog", paths=["/items/{id}"]),
    )

    seen = await asked(wrapped, "/search", "/items/1", "/items/2", "/search", "/items/3", "/about")

    assert seen == [200, 200, 200, 429, 429, 200]


async def test_a_request_that_meets_two_limits_of_one_scope_counts_once() -> None:
    wrapped = wrap(
        hello,
        Limit("3/minute", key=by_ip, name="all", scope="api"),
        Limit("3/minute", key=by_ip, name="post", scope="api", methods=["POST"]),
    )

    replies = [await request(wrapped.app, method="POST") for _ in range(4)]

    assert [reply.headers["x-ratelimit-remaining"] for reply in replies] == ["2", "1", "0", "0"]
    assert replies[-1].status == 429


async def test_limits_without_a_scope_share_nothing() -> None:
    wrapped = wrap(
        hello,
        Limit("1/minute", key=by_ip, name="search", paths=["/search"]),
        Limit("1/minute", key=by_ip, name="browse", paths=["/items/{id}"]),
    )

    assert await asked(wrapped, "/search", "/items/1") == [200, 200]


def test_a_limit_may_not_be_named_as_the_scope_of_another() -> None:
    limits = [five_a_minute(name="api"), Limit("5/minute", key=by_user, name="user", scope="api")]

    with pytest.raises(ConfigurationError, match="'api'"):
        RateLimit(limits=limits)
    RateLimit(limits=[five_a_minute(name="api", scope="api"), limits[1]])


async def test_who_is_excepted_meets_the_other_limits_only() -> None:
    wrapped = wrap(
        hello,
        Limit("1/minute", key=by_ip, unless=lambda scope: scope["path"] == "/partner"),
        Limit("3/minute", key=by_ip, name="all"),
    )

    replies = [await get(wrapped.app, path) for path in ("/", "/", "/partner", "/partner", "/partner")]

    assert [reply.status for reply in replies] == [200, 429, 200, 200, 429]
    assert replies[0].headers["ratelimit-policy"] == '"all";q=3;w=60, "ip";q=1;w=60'
    assert replies[2].headers["ratelimit-policy"] == '"all";q=3;w=60'


async def test_a_shadow_limit_refuses_nobody_tells_nobody_and_counts_whom_it_would_have() -> None:
    wrapped = wrap(
        hello,
        Limit("2/minute", key=by_ip, name="tight", shadow=True),
        Limit("9/minute", key=by_ip, name="wide"),
    )

    replies = [await get(wrapped.app) for _ in range(9)]

    assert {reply.status for reply in replies} == {200}
    assert {reply.headers["ratelimit-policy"] for reply in replies} == {'"wide";q=9;w=60'}
    assert [reply.headers["x-ratelimit-remaining"] for reply in replies] == list("876543210")
    assert wrapped.count("ratelimit.decisions", decision="shadowed") == 7
    assert wrapped.count("ratelimit.decisions", decision="limited") == 0
    assert wrapped.facts == []


async def test_where_only_shadow_limits_apply_no_quota_is_told() -> None:
    wrapped = wrap(hello, five_a_minute(shadow=True))

    replies = [await get(wrapped.app) for _ in range(6)]

    assert {reply.status for reply in replies} == {200}
    assert not [name for name in replies[-1].headers if "ratelimit" in name]
    assert wrapped.count("ratelimit.decisions", decision="shadowed") == 1
