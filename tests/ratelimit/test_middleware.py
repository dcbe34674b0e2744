"""What a client meets: the ASGI shell over the real limiter in memory, its clock set by hand."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from sipup_middleware import Limit, RateLimit, Stack, by_header, by_ip, by_user
from sipup_middleware.context import Context
from sipup_middleware.ratelimit import Decision
from sipup_middleware.telemetry import RequestRefused
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


@pytest.mark.parametrize("kind", ["websocket", "telepathy"])
async def test_other_scopes_pass_untouched(kind: str) -> None:
    seen: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    given: Any = ({"type": kind}, object(), object())
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
    assert [type(fact) for fact in wrapped.facts] == [RequestRefused] * 2


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
    assert len(facts) == 2
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
