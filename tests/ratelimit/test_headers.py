"""draft-ietf-httpapi-ratelimit-headers-10 over RFC 9651, read back by a parser that is not ours."""

from __future__ import annotations

from typing import Any

import http_sf
import pytest

from sipup_middleware import Limit, by_ip, by_user
from sipup_middleware.ratelimit import Decision
from sipup_middleware.ratelimit.headers import QuotaHeaders
from tests.asgi import get, hello
from tests.ratelimit.doubles import rule, wrap


def parsed(value: str) -> list[tuple[str, dict[str, int]]]:
    items: Any = http_sf.parse(value.encode(), tltype="list")
    assert http_sf.ser(items) == value
    return [(name, dict(parameters)) for name, parameters in items]


async def test_fields_are_lists_of_strings_with_whole_parameters() -> None:
    wrapped = wrap(hello)
    alice = [("Authorization", "Bearer alice")]

    replies = [await get(wrapped.app, headers=alice) for _ in range(102)]

    for reply in replies:
        assert parsed(reply.headers["ratelimit-policy"]) == [
            ("ip", {"q": 100, "w": 60}),
            ("user", {"q": 1000, "w": 3600}),
        ]
        ((name, parameters),) = parsed(reply.headers["ratelimit"])
        assert isinstance(name, str)
        assert name == "ip"
        assert parameters.keys() == {"r", "t"}
        assert all(type(value) is int and value >= 0 for value in parameters.values())
        assert int(reply.headers.get("retry-after", parameters["t"])) >= parameters["t"]
    assert [parsed(reply.headers["ratelimit"])[0][1]["r"] for reply in replies[-3:]] == [0, 0, 0]


async def test_the_policy_is_the_same_bytes_every_time() -> None:
    wrapped = wrap(hello)

    policies = {
        (await get(wrapped.app, headers=headers)).headers["ratelimit-policy"]
        for headers in ([], [("X-API-Key", "a")], [])
    }

    assert policies == {'"ip";q=100;w=60, "user";q=1000;w=3600'}


async def test_legacy_headers_tell_when_the_window_ends() -> None:
    wrapped = wrap(hello, Limit("5/minute", key=by_ip))
    wrapped.clock.now += 12.25

    headers = (await get(wrapped.app)).headers

    assert headers["x-ratelimit-limit"] == "5"
    assert headers["x-ratelimit-remaining"] == "4"
    assert headers["x-ratelimit-reset"] == str(1_700_000_100)
    assert headers["ratelimit"] == '"ip";r=4;t=48'


async def test_large_numbers_are_told_too() -> None:
    wrapped = wrap(hello, Limit("1000000/day", key=by_ip))

    assert (await get(wrapped.app)).headers["x-ratelimit-remaining"] == "999999"


@pytest.mark.parametrize(
    ("own", "names"),
    [
        ((b"ratelimit", b'"plan";r=1;t=2'), {"ratelimit", "x-ratelimit-limit"}),
        ((b"RateLimit-Policy", b'"plan";q=1;w=2'), {"ratelimit-policy", "x-ratelimit-limit"}),
        ((b"X-RateLimit-Limit", b"7"), {"ratelimit", "ratelimit-policy", "x-ratelimit-limit"}),
    ],
)
async def test_what_a_handler_tells_of_its_own_quota_stands_alone(
    own: tuple[bytes, bytes], names: set[str]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [own]})
        await send({"type": "http.response.body"})

    reply = await get(wrap(app, Limit("5/minute", key=by_user), user=lambda _: "alice").app)
    told = [name.decode().lower() for name, _ in reply.raw_headers]

    assert own in reply.raw_headers
    assert len(told) == len(set(told))
    assert set(told) - {"x-ratelimit-remaining", "x-ratelimit-reset"} == names


@pytest.mark.parametrize(
    "limits",
    [
        (Limit("5/minute", key=by_ip, burst=2), Limit("1000000/day", key=by_ip, name="long", cost=7)),
        (
            Limit("3/minute", key=by_ip, name="a.b-c_D", strategy="moving"),
            Limit("9/hour", key=by_ip, strategy="fixed"),
        ),
        (
            Limit(lambda _: "7/hour", key=by_ip, name="plan"),
            Limit("5/minute", key=by_ip, count_when=lambda _: True),
        ),
        (Limit("3/minute", key=by_ip, name="seen"), Limit("1/minute", key=by_ip, name="unseen", shadow=True)),
    ],
    ids=["burst-cost", "moving-fixed", "dynamic-late", "shadow"],
)
async def test_whatever_the_limits_the_fields_parse_and_the_policy_is_the_same_bytes(
    limits: tuple[Limit, ...],
) -> None:
    wrapped = wrap(hello, *limits)
    policies, names = set(), {limit.name for limit in limits if not limit.shadow}
    statuses = set()

    for _ in range(12):
        reply = await get(wrapped.app)
        wrapped.clock.now += 0.37
        statuses.add(reply.status)
        policies.add(reply.headers["ratelimit-policy"])
        ((name, parameters),) = parsed(reply.headers["ratelimit"])
        assert name in names
        assert all(type(value) is int and value >= 0 for value in parameters.values())

    assert statuses == {200, 429}
    (policy,) = policies
    assert {name for name, _ in parsed(policy)} == names
    assert all(parameters.keys() == {"q", "w"} for _, parameters in parsed(policy))


async def test_the_rule_told_is_the_one_with_the_least_left() -> None:
    short = Limit("3/minute", key=by_ip, name="short", strategy="fixed")
    wrapped = wrap(hello, short, Limit("4/hour", key=by_ip, name="long"))

    told = []
    for _ in range(4):
        told.append(parsed((await get(wrapped.app)).headers["ratelimit"])[0])
        wrapped.clock.now += 60

    assert [name for name, _ in told] == ["short", "short", "long", "long"]
    assert [parameters["r"] for _, parameters in told] == [2, 2, 1, 0]


async def test_answers_that_are_alike_are_told_alike_and_share_nothing() -> None:
    wrapped = wrap(hello, Limit("5/minute", key=by_ip))
    first = await get(wrapped.app, client="192.0.2.1")

    first.sent[0]["headers"].clear()
    second = await get(wrapped.app, client="192.0.2.2")

    assert second.headers["ratelimit"] == '"ip";r=4;t=60'
    assert second.headers["content-type"] == "text/plain"


def test_answers_of_many_kinds_fill_no_memory() -> None:
    only = rule((100_000, 60))
    headers = QuotaHeaders([only], "draft-10")

    for left in range(20_000):
        allowed = Decision(allowed=True, rule="ip", remaining=left, reset=9, reset_at=1_700_000_049)
        headers._told(b"", allowed, ())
        refused = allowed._replace(allowed=False, reset=left + 1)
        assert headers.refused(b"", refused, ())[0] == (b"retry-after", b"%d" % (left + 1))

    assert max(len(headers._known), len(headers._refused)) <= 8192
