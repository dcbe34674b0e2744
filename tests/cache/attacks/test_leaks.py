"""What was made for one client is never given to another, nor told of (CWE-524, CWE-488, CWE-532)."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from starlette.types import Receive, Scope, Send

from sipup_middleware.cache import ResponseCache, Rule
from sipup_middleware.cache.policy import House
from sipup_middleware.store import Store
from sipup_middleware.telemetry import Fact, Telemetry
from tests.asgi import get, lifespan, request
from tests.cache.apps import FRESH, Clock, Counting, Origin, Scripted, cached, timed
from tests.cache.attacks.victims import Believing, told

SUFFIXES = (
    "/account/x.css",
    "/account.css",
    "/account;x.css",
    "/account%2Fx.css",
    "/account%00.css",
    "/account%0a.css",
    "/account%3Fx.css",
    "/account%23x.css",
    "/account%3Bx.css",
    "/static/..%2faccount",
    "/static/%2e%2e/account",
    "/static/..%5caccount",
    "/static/%252e%252e%252faccount",
    "/static/../account",
    "/account/x.css.",
    "/account/..%2fstatic/x.css",
)
RULES = (Rule("/static/*", ttl=600), Rule("*.css", ttl=600), Rule("*.css.", ttl=600))


def decoded(path: str) -> dict[str, Any]:
    """Return what of a scope a server fills from a target."""
    from urllib.parse import unquote  # noqa: PLC0415 (as the server does)

    return {"path": unquote(path), "raw_path": path.encode()}


@pytest.mark.parametrize("path", SUFFIXES)
async def test_a_page_that_a_cookie_opened_is_stored_under_no_name(path: str) -> None:
    """Gil, Web Cache Deception Attack, Black Hat USA 2017; Mirheidari et al., USENIX Security 2020."""
    wrapped = cached(Believing(told("cookie"), headers=()), *RULES)

    victim = await request(wrapped, headers=[("Cookie", "session=secret")], **decoded(path))
    attacker = await request(wrapped, **decoded(path))

    assert victim.body == b"session=secret"
    assert attacker.body == b"nothing"


@pytest.mark.parametrize("path", ["/account/x.css", "/account;x.css", "/x.js", "/x.png"])
async def test_the_ending_of_a_path_makes_nothing_storable(path: str) -> None:
    """Gil, Web Cache Deception Attack, 2017; without a rule only what the app declares is stored."""
    app = Believing(told("x-key"), headers=())
    wrapped = cached(app)

    for _ in range(2):
        await request(wrapped, headers=[("X-Key", "secret")], **decoded(path))

    assert app.calls == 2


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2faccount",
        "/static/%2e%2e/account",
        "/static/../account",
        "/static/./../account",
        "/static/..%5caccount",
        "/static/%252e%252e%252faccount",
        "/static/..",
        "/static/%00/../account",
        "/static/account%00.css",
    ],
)
async def test_no_rule_covers_a_path_that_an_app_may_read_as_another(path: str) -> None:
    """Doyhenard, Gotta cache 'em all, 2024: a static directory, an origin that normalises dot segments."""
    wrapped = cached(Believing(told("x-key"), headers=()), *RULES)

    await request(wrapped, headers=[("X-Key", "secret")], **decoded(path))
    attacker = await request(wrapped, **decoded(path))

    assert attacker.body == b"nothing"


@pytest.mark.parametrize(
    "path", ["/static/.well-known/x.css", "/static/a..b/...c", "/static/caf%C3%A9%20.css"]
)
async def test_a_rule_covers_paths_that_merely_look_like_it(path: str) -> None:
    app = Counting(headers=())
    wrapped = cached(app, *RULES)

    for _ in range(2):
        await request(wrapped, **decoded(path))

    assert app.calls == 1


@pytest.mark.parametrize(
    "line", [*["max-age=60", "public, s-maxage=60", "must-revalidate, max-age=60"], None]
)
async def test_a_cookie_that_is_set_is_set_for_one(line: str | None) -> None:
    """CVE-2014-0473 (Django), CVE-2023-30861 (Flask): a session or a token that a cache hands to the next."""
    headers = [("Set-Cookie", "session=secret"), *([("cache-control", line)] if line else [])]
    app = Scripted(headers=headers)
    wrapped = cached(app, Rule("/*", ttl=60))

    for _ in range(2):
        await get(wrapped)

    assert app.calls == 2


async def test_a_cookie_of_a_confirmation_is_set_for_nobody_else() -> None:
    """CVE-2023-30861 (Flask), by way of a 304."""
    clock, etag = Clock(), ("etag", '"a"')
    wrapped = timed(
        Origin([(200, [FRESH, etag], b"x"), (304, [FRESH, etag, ("set-cookie", "session=secret")], b"")]),
        clock,
    )
    await get(wrapped)
    clock.now += 61

    replies = [await get(wrapped) for _ in range(2)]

    assert not any("set-cookie" in reply.headers for reply in replies)


@pytest.mark.parametrize(
    "line",
    [
        "PRIVATE",
        "private=",
        'private=""',
        "private=true",
        "private=1",
        "Private=Yes",
        "private=*",
        'private="x',
        "private; max-age=60",
        "max-age=60; private",
        "max-age=60;private;",
        "public; private",
        '"private"',
        "'private'",
        "private\x0b",
        "max-age=60 private",
        "no-store;",
        "NO-STORE;max-age=60",
        "no_store",
        "no-store=1",
        'no-store="x"',
        "no-cache no-store",
        "must-revalidate; no-store, max-age=60",
        "\tno-store\t",
        "x=1,,no-store",
        'x="a, no-store',
    ],
)
@pytest.mark.parametrize("beside", [[], [("cache-control", "max-age=60, public")]])
async def test_private_and_no_store_are_meant_however_they_are_spelt(
    line: str, beside: list[tuple[str, str]]
) -> None:
    """CWE-178, CWE-524: what a browser forgives, and a shared cache must not make public."""
    app = Counting(headers=[("Cache-Control", line), *beside])
    wrapped = cached(app, Rule("/*", ttl=60))

    bodies = [(await get(wrapped)).body for _ in range(2)]

    assert bodies == [b"1", b"2"]


@pytest.mark.parametrize(
    "line", ['x="private; y", max-age=60', "max-age=60, x-private", "max-age=60, privately=no-store"]
)
async def test_a_word_within_another_is_not_meant(line: str) -> None:
    app = Counting(headers=[("cache-control", line)])

    wrapped = cached(app)

    assert [(await get(wrapped)).body for _ in range(2)] == [b"1", b"1"]


async def test_after_a_logout_nothing_private_is_left() -> None:
    """CVE-2014-1418 (Django): what varies by Cookie; CWE-613."""
    wrapped = cached(Believing(told("cookie"), headers=[FRESH, ("vary", "Cookie")]))
    session = [("Cookie", "session=secret")]

    for _ in range(2):
        await get(wrapped, headers=session)
    after = [await get(wrapped), await get(wrapped, headers=[("Cookie", "session=")])]

    assert [reply.body for reply in after] == [b"nothing", b"session="]


async def test_an_answer_that_has_become_private_ends_the_one_that_was_not() -> None:
    """RFC 9111, section 4.3.3: the stale one must not come back when the app fails."""
    clock = Clock()
    app = Origin([(200, [FRESH], b"old"), (200, [("cache-control", "private")], b"mine"), RuntimeError("x")])
    wrapped = timed(app, clock, house=House(stale_if_error=600.0))
    await get(wrapped)
    clock.now += 61
    await get(wrapped)

    with pytest.raises(RuntimeError):
        await get(wrapped)


@pytest.mark.parametrize("line", ["max-age=60", "max-age=60, proxy-revalidate", "", "immutable, max-age=60"])
async def test_an_answer_to_credentials_is_for_their_owner(line: str) -> None:
    """RFC 9111, section 3.5; CWE-524."""
    wrapped = cached(Believing(told("authorization"), headers=[("cache-control", line)]), Rule("/*", ttl=60))

    await get(wrapped, headers=[("Authorization", "Bearer secret")])
    attackers = [await get(wrapped), await get(wrapped, headers=[("Authorization", "Bearer other")])]

    assert [reply.body for reply in attackers] == [b"nothing", b"Bearer other"]


async def test_the_origin_that_cors_allows_is_told_to_no_other() -> None:
    """Kettle, Exploiting CORS Misconfigurations, 2016; Fetch standard, "CORS protocol and HTTP caches"."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        origin = told("origin")(scope).decode()
        await Scripted(headers=[FRESH, ("access-control-allow-origin", origin), ("vary", "Origin")]).respond(
            send
        )

    wrapped = cached(app)
    origins = ["https://evil.example", "https://shop.example", "null"]

    replies = [await get(wrapped, headers=[("Origin", origin)]) for origin in origins * 2]

    assert [reply.headers["access-control-allow-origin"] for reply in replies] == origins * 2


@pytest.mark.parametrize("line", ["private", "max-age=60"])
@pytest.mark.parametrize("name", ["cookie", "authorization", "x-api-key"])
async def test_a_waiting_request_gets_nothing_that_was_made_for_the_one_it_waits_for(
    name: str, line: str
) -> None:
    """CWE-488: request collapsing."""
    believing = Believing(told(name), headers=[("cache-control", line), ("vary", name)])
    arrived, replies = list[None](), dict[str, bytes]()
    go = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.append(None)
        await go.wait()
        await believing(scope, receive, send)

    wrapped = cached(app)

    async def one(secret: str) -> None:
        replies[secret] = (await get(wrapped, headers=[(name, secret)])).body

    async with anyio.create_task_group() as tasks:
        for secret in "abc":
            tasks.start_soon(one, secret)
        while not arrived:
            await checkpoint()
        go.set()

    assert replies == {"a": b"a", "b": b"b", "c": b"c"}


async def test_no_secret_of_a_request_or_of_the_store_is_told_anywhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """CWE-532, CWE-209: not a URL, cookie, tag, body or password."""
    secret, facts = "hush", list[Fact]()
    telemetry = Telemetry([facts.append])
    unreachable = ResponseCache(store=Store(f"redis://:{secret}@127.0.0.1:1/0"))
    layer = ResponseCache(
        rules=(Rule("/{id}", ttl=60, query=None, tags=("user:{id}",)),),
        sample=1,
    )
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise RuntimeError(secret)
        scope["sipup"].response.tag(secret)
        await Scripted(headers=[FRESH, ("x-a", secret)], chunks=[secret.encode() * calls]).respond(send)

    wrapped = layer(app, telemetry=telemetry)
    asked: Any = {"query": f"token={secret}", "headers": [("x-token", secret)]}
    with caplog.at_level(logging.DEBUG):
        replies = [await get(wrapped, f"/{secret}", **asked) for _ in range(2)]
        with pytest.raises(RuntimeError):
            await get(wrapped, f"/{secret}", query=secret, headers=[("cookie", secret)])
        async with lifespan(unreachable(Scripted(), telemetry=telemetry)):
            pass

    counted = ("cache.bypass", "cache.requests", "cache.shadow", "store.errors")
    told_of = [
        *map(repr, facts),
        *(repr(labels) for name in counted for labels, _ in telemetry.counters(name)),
        caplog.text,
        repr(layer),
        repr(unreachable),
        repr(layer.store.handle().stats()),
        *(reply.headers["cache-status"] for reply in replies),
    ]
    assert any("differs from the app's in its body" in text for text in told_of)
    assert any("BackendLost" in text for text in told_of)
    assert not any(secret in text for text in told_of)
