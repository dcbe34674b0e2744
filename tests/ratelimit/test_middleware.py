"""What a client meets: the ASGI shell over the real limiter in memory, its clock set by hand."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from sipup_middleware import ClientIP, Limit, RateLimit, Stack, by_header, by_ip, by_user
from sipup_middleware.context import Context
from sipup_middleware.ratelimit import Backoff, Decision, LoadShed
from sipup_middleware.telemetry import RequestRefused, WarningRaised
from tests.asgi import Exchange, get, hello, http_scope, lifespan, request
from tests.ratelimit.doubles import Wrapped, five_a_minute, wrap

QUOTA = {"ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}


async def statuses(wrapped: Wrapped, *paths: str, **scope: Any) -> list[int]:
    return [(await get(wrapped.app, path, **scope)).status for path in paths]


async def test_exactly_100_of_101_requests_a_minute_pass() -> None:
    wrapped = wrap(hello)

    seen = await statuses(wrapped, *["/"] * 101)

    assert seen == [200] * 100 + [429]
    assert await statuses(wrapped, "/", client="192.0.2.2") == [200]


async def test_a_user_is_followed_from_address_to_address() -> None:
    wrapped = wrap(hello)
    alice = [("Authorization", "Bearer alice")]

    seen = [(await get(wrapped.app, client=f"192.0.2.{n % 50}", headers=alice)).status for n in range(1001)]

    assert (seen.count(200), seen[-1]) == (1000, 429)
    assert (await get(wrapped.app, headers=[("Authorization", "Bearer bob")])).status == 200


async def test_of_200_requests_at_once_exactly_30_pass() -> None:
    wrapped = wrap(hello, Limit("30/minute", key=by_ip))
    seen: list[int] = []

    async def ask() -> None:
        seen.append((await get(wrapped.app)).status)

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(ask)

    assert (seen.count(200), seen.count(429)) == (30, 170)


async def test_a_refused_request_never_reaches_the_app_and_is_told_when_to_return() -> None:
    called: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope["path"])
        await hello(scope, receive, send)

    wrapped = wrap(app, Limit("1/minute", key=by_ip))
    await get(wrapped.app)
    wrapped.clock.now += 12.5
    refused = await get(wrapped.app)

    assert called == ["/"]
    assert refused.status == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["cache-control"] == "no-store"
    assert refused.headers["retry-after"] == "48"
    assert refused.headers["ratelimit"] == '"ip";r=0;t=48'
    assert refused.json()["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert refused.json()["status"] == 429
    assert len(refused.body) <= 512
    wrapped.clock.now += 48
    assert (await get(wrapped.app)).status == 200


async def test_quota_stands_on_every_kind_of_answer() -> None:
    async def fail(_: Request) -> Response:
        raise LookupError

    app = Starlette(
        routes=[
            Route("/", lambda _: PlainTextResponse("hello")),
            Route("/same", lambda _: Response(status_code=304)),
            Route("/login", lambda _: Response(status_code=401)),
            Route("/old", lambda _: RedirectResponse("/")),
            Route("/fail", fail),
        ]
    )
    stacked = Stack(RateLimit())(app)
    replies: list[Exchange] = []

    for path, method in [(p, "GET") for p in ("/", "/same", "/login", "/old", "/none")] + [("/", "HEAD")]:
        replies.append(await get(stacked, path, method=method))
    failed = Exchange()
    with pytest.raises(LookupError):
        await stacked(http_scope("/fail"), failed.receive, failed.send)

    assert [reply.status for reply in [*replies, failed]] == [200, 304, 401, 307, 404, 200, 500]
    assert all(reply.headers.keys() >= QUOTA for reply in [*replies, failed])


@pytest.mark.parametrize(
    ("style", "told"),
    [
        ("draft-10+legacy", QUOTA),
        ("draft-10", {name for name in QUOTA if name.startswith("r")}),
        ("legacy", {name for name in QUOTA if name.startswith("x")}),
        ("off", set()),
    ],
)
async def test_the_style_of_headers_is_chosen(style: str, told: set[str]) -> None:
    wrapped = wrap(hello, Limit("1/minute", key=by_ip), headers=style)

    served, refused = await get(wrapped.app), await get(wrapped.app)

    assert served.headers.keys() & QUOTA == told
    assert refused.headers.keys() & QUOTA == told
    assert "retry-after" in refused.headers


async def test_a_streamed_answer_is_told_once_and_passed_on_as_it_comes() -> None:
    sent: list[Any] = []
    told: list[int] = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        for chunk in (b"a", b"b"):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            told.append(len(sent))
        await send({"type": "http.response.pathsend", "path": "/etc/hostname"})
        await send({"type": "http.response.trailers", "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    await wrap(stream).app(http_scope(), Exchange().receive, send)

    assert told == [2, 3]
    assert [message["type"].removeprefix("http.response.") for message in sent] == [
        "start",
        "body",
        "body",
        "pathsend",
        "trailers",
    ]
    assert sent[0]["trailers"]
    assert len(sent[0]["headers"]) == 5
    assert sent[1] == {"type": "http.response.body", "body": b"a", "more_body": True}


async def test_the_messages_of_the_app_are_not_changed() -> None:
    start = {"type": "http.response.start", "status": 204, "headers": ((b"a", b"b"),)}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send({"type": "http.response.body"})

    reply = await get(wrap(app).app)

    assert start["headers"] == ((b"a", b"b"),)
    assert reply.raw_headers[0] == (b"a", b"b")


async def test_other_scopes_pass_untouched() -> None:
    seen: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    given: Any = ({"type": "telepathy"}, object(), object())
    await wrap(inner).app(*given)

    assert [id(each) for each in seen[0]] == [id(each) for each in given]


async def test_it_works_in_a_lifespan_and_without_one() -> None:
    wrapped = wrap(hello)

    async with lifespan(wrapped.app):
        assert await statuses(wrapped, "/") == [200]

    assert await statuses(wrapped, "/") == [200]


async def test_a_preflight_is_not_counted_and_any_other_options_is() -> None:
    wrapped = wrap(hello, five_a_minute())
    preflight = [("Origin", "https://shop.example"), ("Access-Control-Request-Method", "PUT")]

    free = [await request(wrapped.app, method="OPTIONS", headers=preflight) for _ in range(20)]
    counted = await request(wrapped.app, method="OPTIONS", headers=preflight[:1])

    assert {reply.status for reply in free} == {200}
    assert not free[0].headers.keys() & QUOTA
    assert counted.headers["x-ratelimit-remaining"] == "4"


async def test_exempt_paths_cost_nothing() -> None:
    wrapped = wrap(hello, Limit("1/minute", key=by_ip), exempt=("/_health", "/up"))
    await get(wrapped.app)

    assert await statuses(wrapped, "/_health", "/_health/live", "/up", "/upper") == [200, 200, 200, 429]
    assert await statuses(wrapped, "/shop/up", root_path="/shop") == [200]
    assert await statuses(wrapped, "/up/../secret") == [429]


@pytest.mark.parametrize(
    "scopes",
    [
        [{"path": "/login"}, {"path": "/login/"}, {"path": "//login"}],
        [{"path": "/login", "raw_path": b"/%6cogin"}, {"path": "/login"}, {"path": "/login"}],
        [
            {"path": "/api/login", "root_path": "/api"},
            {"path": "/login", "root_path": "/api"},
            {"path": "/login"},
        ],
    ],
)
async def test_a_path_written_differently_hits_the_same_rule(scopes: list[dict[str, str]]) -> None:
    wrapped = wrap(hello, Limit("2/minute", key=by_ip, name="login", paths=["/login"]))

    assert [(await get(wrapped.app, **scope)).status for scope in scopes] == [200, 200, 429]


async def test_a_mounted_app_may_be_wrapped() -> None:
    wrapped = wrap(hello, Limit("1/minute", key=by_ip, paths=["/users/{id}"]))
    app = Starlette(routes=[Mount("/shop", wrapped.app)])

    assert (await get(app, "/shop/users/1")).status == 200
    assert (await get(app, "/shop/users/2")).status == 429
    assert (await get(app, "/shop/users")).status == 200


async def test_a_path_that_no_pattern_matches_still_meets_the_rules_without_one() -> None:
    wrapped = wrap(
        hello, five_a_minute(), Limit("1/minute", key=by_ip, name="login", paths=["/login"], methods=["post"])
    )

    assert (await request(wrapped.app, "/login", method="POST")).headers["ratelimit"] == '"login";r=0;t=60'
    assert (await request(wrapped.app, "/login", method="POST")).status == 429
    assert await statuses(wrapped, "/login", "/%6cogin", "/other", "/other", "/other") == [200] * 4 + [429]


async def test_a_rule_without_a_client_does_not_apply() -> None:
    wrapped = wrap(hello, Limit("1/minute", key=by_header("x-tenant")))

    free = await get(wrapped.app)

    assert not free.headers.keys() & QUOTA
    assert await statuses(wrapped, "/", "/", headers=[("x-tenant", "acme")]) == [200, 429]
    assert await statuses(wrapped, "/") == [200]


async def test_cost_is_taken_at_once() -> None:
    wrapped = wrap(hello, Limit("10/minute", key=by_ip, cost=4))

    replies = [await get(wrapped.app) for _ in range(3)]

    assert [reply.headers["x-ratelimit-remaining"] for reply in replies] == ["6", "2", "0"]
    assert replies[-1].status == 429


async def test_the_host_can_read_the_decision() -> None:
    seen: list[Context] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["state"]["sipup"])
        await hello(scope, receive, send)

    wrapped = wrap(app, five_a_minute())
    await get(wrapped.app)
    await get(wrapped.app, "/_health")

    assert seen[0].limits.decision == Decision(
        allowed=True, rule="ip", remaining=4, reset=60, reset_at=int(wrapped.clock.now) + 60
    )
    assert seen[1].limits.decision is None


async def test_decisions_are_counted_and_refusals_told() -> None:
    wrapped = wrap(hello, Limit("2/minute", key=by_ip))

    await statuses(wrapped, *"////")

    assert wrapped.count("ratelimit.decisions", decision="allowed") == 2
    assert wrapped.count("ratelimit.decisions", decision="limited") == 2
    assert wrapped.gauge("ratelimit.keys") == 1
    assert wrapped.gauge("ratelimit.degraded") == 0
    assert [type(fact) for fact in wrapped.facts] == [RequestRefused]


async def test_a_refusal_is_told_anew_when_it_is_over_and_for_each_client() -> None:
    wrapped = wrap(hello, Limit("1/minute", key=by_ip))

    for _ in range(3):
        for client in ("192.0.2.1", "192.0.2.2"):
            await statuses(wrapped, *"////", client=client)
        wrapped.clock.now += 120

    told = [fact.client for fact in wrapped.facts if isinstance(fact, RequestRefused)]
    assert len(told) == 6
    assert len(set(told)) == 2


async def test_no_identity_is_told_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    facts: list[Any] = []
    layer = RateLimit(
        limits=[Limit("1/minute", key=by_ip), Limit("1/minute", key=by_user)], user=lambda _: "alice"
    )
    app = Stack(layer)(hello, telemetry=(wrapped := wrap(hello)).telemetry)
    wrapped.telemetry.observe(facts.append)

    for _ in range(3):
        await get(app, client="192.0.2.77")

    told = f"{facts} {caplog.text} {wrapped.telemetry._counters} {layer!r}"
    assert len(facts) == 1
    assert "192.0.2.77" not in told
    assert "alice" not in told


async def test_aliases_differ_from_process_to_process() -> None:
    aliases = set()
    for _ in range(2):
        wrapped = wrap(hello, Limit("1/minute", key=by_ip))
        await statuses(wrapped, "/", "/", "/")
        told = {fact.client for fact in wrapped.facts if isinstance(fact, RequestRefused)}
        assert len(told) == 1
        aliases |= told

    assert len(aliases) == 2


async def test_a_layer_in_shadow_refuses_nobody_tells_nobody_and_counts_whom_it_would_have() -> None:
    wrapped = wrap(hello, Limit("2/minute", key=by_ip), mode="shadow")

    replies = [await get(wrapped.app) for _ in range(9)]

    assert {reply.status for reply in replies} == {200}
    assert not replies[0].headers.keys() & QUOTA
    assert wrapped.count("ratelimit.decisions", decision="shadowed") == 7
    assert wrapped.count("ratelimit.decisions", decision="limited") == 0
    assert wrapped.facts == []


async def test_a_shadow_layer_with_bans_bans_nobody() -> None:
    backoff = Backoff(after=0, base=60, jitter=0)
    wrapped = wrap(hello, Limit("1/minute", key=by_ip), mode="shadow", backoff=backoff)

    assert await statuses(wrapped, *"/" * 20) == [200] * 20


@pytest.mark.parametrize("outer", ["cors", "limits"])
async def test_a_browser_may_read_a_refusal_if_cors_stands_outside(outer: str) -> None:
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("hello"))])
    layer = RateLimit(
        limits=[Limit("1/minute", key=by_ip)], shed=LoadShed(max_inflight=1, queue=0), deny=["203.0.113.0/24"]
    )
    cors = Middleware(CORSMiddleware, allow_origins=["https://shop.example"])
    stacked = Stack(*((cors, layer) if outer == "cors" else (layer, cors)))(app)
    origin = [("Origin", "https://shop.example")]

    served, limited = [await get(stacked, headers=origin) for _ in range(2)]
    denied = await get(stacked, headers=origin, client="203.0.113.1")

    assert [served.status, limited.status, denied.status] == [200, 429, 403]
    for reply in (limited, denied):
        assert ("access-control-allow-origin" in reply.headers) is (outer == "cors")


async def signed_in(token: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    if not token.credentials.startswith("eyJ.real"):
        raise HTTPException(401)
    return token.credentials


async def orders(who: Annotated[str, Depends(signed_in)]) -> dict[str, str]:
    return {"orders": who}


def fastapi_shop() -> FastAPI:
    app = FastAPI()
    app.get("/orders")(orders)
    return app


def bearer(token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token}")]


async def test_a_fastapi_app_with_tokens_and_no_option_set_refuses_request_1001_of_the_hour() -> None:
    wrapped = wrap(fastapi_shop())

    seen = [
        (
            await get(wrapped.app, "/orders", client=f"192.0.2.{n % 50}", headers=bearer("eyJ.real.alice"))
        ).status
        for n in range(1001)
    ]

    assert seen == [200] * 1000 + [429]


async def test_ten_thousand_forged_tokens_from_one_address_meet_its_hundred_a_minute() -> None:
    wrapped = wrap(fastapi_shop())

    seen = [
        (await get(wrapped.app, "/orders", headers=bearer(f"eyJ.forged.{n}"))).status for n in range(10_000)
    ]

    assert seen == [401] * 100 + [429] * 9900


async def test_cors_of_a_fastapi_app_stands_on_its_429_and_503() -> None:
    finish = anyio.Event()
    app = fastapi_shop()

    @app.get("/slow")
    async def slow() -> None:
        await finish.wait()

    app.add_middleware(
        RateLimit(limits=[Limit("2/minute", key=by_ip)], shed=LoadShed(max_inflight=1, queue=0))
    )
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"])
    origin = [("Origin", "https://shop.example")]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(get, app, "/slow", headers=origin))
        await anyio.wait_all_tasks_blocked()
        shed = await get(app, "/orders", headers=origin, client="192.0.2.9")
        finish.set()
    rejected = await get(app, "/orders", headers=origin)
    limited = await get(app, "/orders", headers=origin)

    assert [shed.status, rejected.status, limited.status] == [503, 401, 429]
    for reply in (shed, rejected, limited):
        assert reply.headers["access-control-allow-origin"] == "https://shop.example"


async def test_a_limit_that_applied_to_none_of_1000_requests_is_warned_of_once() -> None:
    wrapped = wrap(
        hello,
        Limit("100000/minute", key=by_ip),
        Limit("100000/minute", key=by_header("x-tenat"), name="tenant"),
        Limit("5/minute", key=by_user, name="login", paths=["/login"]),
    )

    await statuses(wrapped, *"/" * 999)
    before = list(wrapped.facts)
    await statuses(wrapped, *"/" * 2000)

    assert before == []
    (warning,) = (fact for fact in wrapped.facts if isinstance(fact, WarningRaised))
    assert "'tenant'" in warning.message


async def test_a_limit_that_applied_once_is_not() -> None:
    wrapped = wrap(hello, Limit("100000/minute", key=by_header("x-tenant")))

    await statuses(wrapped, "/", headers=[("x-tenant", "acme")])
    await statuses(wrapped, *"/" * 1500)

    assert wrapped.facts == []


async def test_a_strangers_ten_thousand_forwarded_addresses_are_one_client() -> None:
    wrapped = wrap(hello, Limit("5/minute", key=by_ip), client_ip=ClientIP(trusted=["10.0.0.0/8"]))

    seen = [
        (
            await get(
                wrapped.app, client="198.51.100.4", headers=[("X-Forwarded-For", f"203.0.{n >> 8}.{n & 255}")]
            )
        ).status
        for n in range(10_000)
    ]

    assert seen.count(200) == 5
    assert wrapped.gauge("ratelimit.keys") == 1


async def test_behind_a_trusted_proxy_each_client_has_its_own_quota() -> None:
    wrapped = wrap(hello, Limit("1/minute", key=by_ip), client_ip=ClientIP(trusted=["10.0.0.0/8"]))

    async def through(*lines: str) -> int:
        headers = [("X-Forwarded-For", line) for line in lines]
        return (await get(wrapped.app, client="10.0.0.1", headers=headers)).status

    assert await through("203.0.113.1") == 200
    assert await through("203.0.113.2, 10.0.0.9") == 200
    assert await through("198.51.100.9", "203.0.113.1") == 429
    assert await through("unknown") == 200
    assert await through("_hidden") == 429, "both are whoever speaks for 10.0.0.1"


@pytest.mark.parametrize(
    "addresses",
    [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:7:aa01::1", "2001:db8:7:aaff::2", "2001:DB8:7:aa01:0::1%eth0"),
        (None, "", "/run/app.sock"),
    ],
)
async def test_addresses_of_one_client_share_its_quota(addresses: tuple[str | None, ...]) -> None:
    wrapped = wrap(hello, Limit("2/minute", key=by_ip))

    seen = [(await get(wrapped.app, client=address)).status for address in addresses]

    assert seen == [200, 200, 429]
    assert wrapped.gauge("ratelimit.keys") == 1


async def test_a_thousand_requests_cancelled_at_random_leave_no_slot_behind() -> None:
    random = Random(5)  # noqa: S311 (any moments will do)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep(random.uniform(0, 0.01))
        await hello(scope, receive, send)

    wrapped = wrap(
        slow, Limit("1000000/hour", key=by_ip), shed=LoadShed(max_inflight=100, max_per_client=900)
    )

    async def hurry() -> None:
        with anyio.move_on_after(random.uniform(0, 0.02)):
            await get(wrapped.app)

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(hurry)

    assert wrapped.gauge("ratelimit.inflight") == 0
    assert (await get(wrapped.app)).status == 200
