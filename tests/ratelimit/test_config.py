from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from starlette.types import Scope

from sipup_middleware import ClientIP, ConfigurationError, Limit, RateLimit, Stack, by_ip, by_user
from sipup_middleware.ratelimit import Backoff, Limits, LoadShed
from sipup_middleware.telemetry import Telemetry, WarningRaised
from tests.asgi import get, hello


async def authenticated(scope: Scope) -> str:
    raise NotImplementedError


@pytest.mark.parametrize(
    "rate",
    [
        "",
        "100",
        "100/fortnight",
        "0/minute",
        "5/0minute",
        "5 per 0 minutes",
        "-1/minute",
        "1/second;5/minute",
        5,
    ],
)
def test_a_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Limit\.rate"):
        Limit(rate, key=by_ip)


@pytest.mark.parametrize(
    ("rate", "amount", "seconds"),
    [("100/minute", 100, 60), ("5 per 10 seconds", 5, 10), ("1000/hour", 1000, 3600), ("7/2day", 7, 172_800)],
)
def test_rates_are_read_as_the_limits_library_writes_them(rate: str, amount: int, seconds: int) -> None:
    (rule,) = RateLimit(limits=[Limit(rate, key=by_ip)])._rules

    assert (rule.amount, rule.period) == (amount, seconds * 1000)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"name": "größe"}, r"Limit\.name"),
        ({"name": ""}, r"Limit\.name"),
        ({"name": "a b"}, r"Limit\.name"),
        ({"name": "a" * 65}, r"Limit\.name"),
        ({"key": lambda scope: None}, r"Limit\.name"),
        ({"key": "ip"}, r"Limit\.key"),
        ({"cost": 0}, r"Limit\.cost"),
        ({"cost": 6}, r"Limit\.cost"),
        ({"paths": "/login"}, r"Limit\.paths"),
        ({"methods": "POST"}, r"Limit\.methods"),
        ({"paths": ["login"]}, "starts with '/'"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Limit("5/minute", **{"key": by_ip, **options})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"limits": ["100/minute"]}, "takes Limit"),
        ({"limits": "100/minute"}, "takes Limit"),
        ({"limits": [Limit("1/second", key=by_ip), Limit("5/minute", key=by_ip)]}, "more than one"),
        ({"storage": "carrier-pigeon://"}, "carrier-pigeon"),
        ({"storage": "redis"}, "storage"),
        ({"storage": "redis://:s3cret@cache:port"}, "storage"),
        ({"on_outage": "panic"}, "on_outage"),
        ({"headers": "draft-3"}, "headers"),
        ({"storage_timeout": 0}, "storage_timeout"),
        ({"exempt": "/_health"}, "exempt"),
        ({"exempt": ["_health"]}, "exempt"),
        ({"exempt": ["/"]}, "exempt"),
        ({"allow": "192.0.2.0/24"}, r"RateLimit\.allow"),
        ({"deny": ["everyone"]}, r"RateLimit\.deny"),
        ({"mode": "audit"}, "mode"),
        ({"max_keys": 0}, "max_keys"),
        ({"user": "alice"}, r"RateLimit\.user"),
        ({"user": authenticated}, r"RateLimit\.user"),
        ({"storage_timeout": float("nan")}, "storage_timeout"),
    ],
)
def test_nonsense_is_refused_at_once(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        RateLimit(**options)

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "storage",
    [
        "memory://",
        "redis://cache:6379/0",
        "valkey://cache",
        "rediss://u:p@cache",
        "unix:///run/valkey.sock?db=0",
    ],
)
def test_every_storage_has_a_url(storage: str) -> None:
    assert RateLimit(storage=storage).storage == storage


def test_it_is_a_value() -> None:
    layer = RateLimit(limits=[Limit("5/minute", key=by_ip)], exempt=["/up"])

    assert layer == RateLimit(limits=(Limit("5/minute", key=by_ip, name="ip"),), exempt=("/up",))
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert copy.deepcopy(layer) == layer
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.exempt = ()  # type: ignore[misc]  # (refused on purpose)


def test_no_password_is_printed() -> None:
    assert "s3cret" not in repr(RateLimit(storage="redis://:s3cret@cache:6379"))


def test_the_defaults_are_a_hundred_a_minute_by_address_and_a_thousand_an_hour_by_user() -> None:
    limits = [(limit.rate, limit.key, limit.name) for limit in RateLimit().limits]

    assert limits == [("100/minute", by_ip, "ip"), ("1000/hour", by_user, "user")]


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_trusting_everyone_is_warned_of(network: str) -> None:
    facts: list[Any] = []

    RateLimit(client_ip=ClientIP(trusted=[network]))(hello, telemetry=Telemetry([facts.append]))

    assert [type(fact) for fact in facts] == [WarningRaised]


def test_memory_with_several_workers_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    facts: list[Any] = []

    RateLimit()(hello, telemetry=Telemetry([facts.append]))

    assert [type(fact) for fact in facts] == [WarningRaised]


async def test_a_stack_opens_the_limiter() -> None:
    async with Stack(RateLimit()).open() as resources:
        assert isinstance(resources.limiter, Limits)


async def test_what_was_counted_is_forgotten_when_the_last_one_closes() -> None:
    layer = RateLimit(limits=[Limit("1/minute", key=by_ip)])
    app = layer(hello)
    async with layer.open():
        assert [(await get(app)).status for _ in range(2)] == [200, 429]

    assert (await get(app)).status == 200


async def test_two_layers_never_share_their_counts() -> None:
    first, second = (RateLimit(limits=[Limit("1/minute", key=by_ip)])(hello) for _ in range(2))

    assert [(await get(app)).status for app in (first, second)] == [200, 200]


def test_what_an_iterator_gives_once_is_kept() -> None:
    limits: Any = (limit for limit in [Limit("5/minute", key=by_ip)])
    exempt: Any = (path for path in ["/up"])

    layer = RateLimit(limits=limits, exempt=exempt)

    assert layer == RateLimit(limits=[Limit("5/minute", key=by_ip)], exempt=["/up"])


def test_options_that_nobody_gave_are_pickled_as_such() -> None:
    layer = RateLimit(exempt=["/up"], backoff=Backoff(after=3), shed=LoadShed(queue=0))

    copied: RateLimit = pickle.loads(pickle.dumps(layer))

    assert copied == layer
    assert copied.limits is RateLimit().limits


async def test_without_limits_everything_is_served_uncounted() -> None:
    app = RateLimit(limits=())(hello)

    replies = [await get(app) for _ in range(200)]

    assert {reply.status for reply in replies} == {200}
    assert "ratelimit" not in replies[0].headers


async def test_one_layer_around_many_routes_counts_them_together() -> None:
    layer = RateLimit(limits=[Limit("2/minute", key=by_ip)])
    first, second = layer(hello), layer(hello)

    assert [(await get(app)).status for app in (first, second, first, second)] == [200, 200, 429, 429]
