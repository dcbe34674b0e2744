"""What else a layer may be told: each option through the shell."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from sipup_middleware.cache import Rule
from sipup_middleware.cache.policy import House
from tests.asgi import get, request
from tests.cache.apps import FRESH, Clock, Counting, Origin, Scripted, cached, timed

OWN = ("Sipup-Cache-Control", "max-age=30")


@pytest.mark.parametrize(
    "asked", [{}, {"method": "POST"}, {"method": "HEAD"}, {"headers": [("range", "bytes=0-0")]}]
)
async def test_9213_the_targeted_field_is_for_us_alone_and_goes_no_further(asked: dict[str, Any]) -> None:
    wrapped = cached(Scripted(headers=[OWN, ("x-a", "1")]))

    replies = [await request(wrapped, **asked) for _ in range(2)]

    assert [OWN[0] in reply.headers for reply in replies] == [False] * 2
    assert [reply.headers["x-a"] for reply in replies] == ["1"] * 2


async def test_9213_it_counts_before_cache_control_which_others_see() -> None:
    wrapped = cached(Scripted(headers=[OWN, ("cache-control", "private")]))
    await get(wrapped)

    reply = await get(wrapped)

    assert reply.headers["cache-control"] == "private"
    assert reply.headers["cache-status"] in {"sipup; hit; ttl=29", "sipup; hit; ttl=30"}


async def test_9213_it_still_counts_when_a_304_does_not_repeat_it() -> None:
    etag, clock = ("etag", '"a"'), Clock()
    app = Origin([(200, [OWN, etag, ("cache-control", "no-store")], b"hello"), (304, [etag], b"")])
    wrapped = timed(app, clock, target=OWN[0])
    await get(wrapped)
    clock.now += 31
    await get(wrapped)

    reply = await get(wrapped)

    assert reply.headers["cache-status"] == "sipup; hit; ttl=30"


async def test_9213_another_name_or_none_may_be_chosen() -> None:
    app = Scripted(headers=[OWN, ("cdn-cache-control", "max-age=9")])

    for target, ttls in (("CDN-Cache-Control", {"8", "9"}), (None, set[str]())):
        wrapped = cached(app, target=target)
        await get(wrapped)
        status = (await get(wrapped)).headers["cache-status"]
        assert (status.rpartition("=")[2] in ttls) is bool(ttls)
        assert OWN[0] in (await get(wrapped)).headers


async def test_what_vary_key_tells_apart_is_kept_apart() -> None:
    def tenant(scope: Scope) -> bytes:
        return dict(scope["headers"]).get(b"x-tenant", b"")  # type: ignore[no-any-return]  # (a scope is untyped)

    wrapped = cached(Counting(), vary_key=tenant)

    bodies = [(await get(wrapped, headers=[("x-tenant", name)])).body for name in "abab"]

    assert bodies == [b"1", b"2", b"1", b"2"]


@pytest.mark.parametrize(("stores", "calls"), [(True, 1), (False, 2)])
async def test_a_cookie_is_stored_only_where_the_layer_says_so(*, stores: bool, calls: int) -> None:
    app = Scripted(headers=[FRESH, ("set-cookie", "a=b"), ("set-cookie", "c=d")])
    wrapped = cached(app, store_set_cookie=stores)
    await get(wrapped)

    reply = await get(wrapped)

    assert app.calls == calls
    assert [value for name, value in reply.raw_headers if name == b"set-cookie"] == [b"a=b", b"c=d"]


async def test_9_fields_that_no_cache_and_private_list_are_sent_once_and_never_again() -> None:
    lines = [
        ("cache-control", 'max-age=60, private="x-user", no-cache="Set-Cookie"'),
        ("x-user", "me"),
        ("set-cookie", "a=b"),
        ("x-a", "1"),
    ]
    wrapped = cached(Scripted(headers=lines))

    first, second = await get(wrapped), await get(wrapped)

    assert (first.headers["x-user"], first.headers["set-cookie"]) == ("me", "a=b")
    assert not {"x-user", "set-cookie"} & second.headers.keys()
    assert (second.headers["x-a"], second.headers["cache-status"].split(";")[1]) == ("1", " hit")


async def test_2_s_maxage_then_max_age_then_expires_then_a_rule_then_a_guess() -> None:
    changed = ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT")
    date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT")
    expires = ("expires", "Sun, 06 Nov 1994 08:50:07 GMT")
    lines = [changed, date]
    found: list[str] = []
    for more in ([], [], [expires], [("cache-control", "max-age=40")], [("cache-control", "s-maxage=50")]):
        lines = [*lines, *more]
        rules = [Rule("/*", ttl=20)] if found else []
        wrapped = timed(Scripted(headers=lines), Clock(), *rules, house=House(heuristic=0.01))
        await get(wrapped)
        found.append((await get(wrapped)).headers["cache-status"])

    assert found == [f"sipup; hit; ttl={ttl}" for ttl in (29, 20, 30, 40, 50)]


async def test_a_rule_s_path_is_compared_below_the_root_path() -> None:
    wrapped = cached(Counting(headers=()), Rule("/products", ttl=60))

    bodies = [(await get(wrapped, "/shop/products", root_path="/shop")).body for _ in range(2)]

    assert bodies == [b"1", b"1"]


async def test_9211_the_status_of_a_cache_behind_the_app_comes_first_and_is_kept() -> None:
    wrapped = cached(Scripted(headers=[FRESH, ("cache-status", "origin; hit")]))

    replies = [await get(wrapped), await get(wrapped)]

    told = [[value for name, value in reply.raw_headers if name == b"cache-status"] for reply in replies]
    assert told[0] == [b"origin; hit", b"sipup; fwd=uri-miss; stored"]
    assert [each[0] for each in told] == [b"origin; hit"] * 2
    assert told[1][1].startswith(b"sipup; hit")


async def test_a_handler_has_its_say_in_a_confirmation_too() -> None:
    calls, etag = 0, ("etag", '"a"')

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        scope["state"]["sipup"].response.ttl(60.0 * calls)
        await Scripted(status=200 if calls == 1 else 304, headers=[etag]).respond(send)

    clock = Clock()
    wrapped = timed(app, clock)
    await get(wrapped)
    clock.now += 61
    await get(wrapped)

    reply = await get(wrapped)

    assert reply.headers["cache-status"] == "sipup; hit; ttl=120"
