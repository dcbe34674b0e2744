"""How a client is refused, and banned if it goes on."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from starlette.types import Message

from sipup_middleware import Limit, by_ip, by_user
from sipup_middleware.asgi import Problem
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.ratelimit import Backoff, refusals
from sipup_middleware.ratelimit.unread import MOST, is_unread
from sipup_middleware.telemetry import ClientBanned, RequestRefused
from tests.asgi import Exchange, get, hello, http_scope
from tests.ratelimit.doubles import Wrapped, five_a_minute, wrap

TYPES = "https://iana.org/assignments/http-problem-types#"
PROBLEMS = [pytest.param(getattr(refusals, name), id=name) for name in refusals.__all__ if name.isupper()]


def banning(*limits: Limit, **options: Any) -> Wrapped:
    backoff = Backoff(**{"after": 5, "jitter": 0, **options})
    return wrap(hello, *(limits or (Limit("1/second", key=by_ip, strategy="fixed"),)), backoff=backoff)


async def refused(wrapped: Wrapped, path: str = "/", **scope: Any) -> list[Any]:
    """What a client is told that asks once too often: the kind of problem and how long it lasts."""
    reply = await get(wrapped.app, path, **scope)
    if reply.status == 200:
        return ["served"]
    return [reply.json()["type"].removeprefix(TYPES), int(reply.headers["retry-after"])]


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("accept", ["application/json", "text/plain", "text/html"])
async def test_every_refusal_is_small_and_never_stored(problem: Problem, accept: str) -> None:
    exchange = Exchange()

    await problem.send(http_scope(headers=[("Accept", accept)]), exchange.send, instance="0" * 32)

    assert len(exchange.body) <= 512
    assert exchange.headers["cache-control"] == "no-store"
    assert exchange.status in {403, 429, 503}
    assert ("retry-after" in exchange.headers) is (exchange.status == 503)


async def test_a_refusal_comes_in_the_form_asked_for() -> None:
    wrapped = wrap(hello, Limit("1/minute", key=by_ip, strategy="fixed"))
    await get(wrapped.app)

    page = await get(wrapped.app, headers=[("Accept", "text/html,*/*;q=0.8")])
    text = await get(wrapped.app, headers=[("Accept", "text/plain")])
    script = await get(wrapped.app, headers=[("Accept", "*/*")])

    assert [reply.headers["content-type"] for reply in (page, text, script)] == [
        "text/html; charset=utf-8",
        "text/plain; charset=utf-8",
        "application/problem+json",
    ]
    assert {reply.headers["retry-after"] for reply in (page, text, script)} == {"60"}
    assert b"<h1>Too Many Requests</h1>" in page.body
    assert text.body.startswith(b"429 Too Many Requests\n")


async def test_a_refusal_is_told_by_the_id_of_its_request() -> None:
    wrapped = wrap(hello, Limit("1/minute", key=by_ip, strategy="fixed"))
    trace = "0af7651916cd43dd8448eb211c80319c"
    await get(wrapped.app)

    reply = await get(wrapped.app, headers=[("traceparent", f"00-{trace}-b7ad6b7169203331-01")])

    assert reply.json()["instance"] == trace


async def test_five_refusals_are_plain_and_each_further_one_bans_for_twice_as_long() -> None:
    wrapped = banning(max=8)
    await get(wrapped.app)

    plain = [await refused(wrapped) for _ in range(5)]
    bans = []
    for _ in range(5):
        bans.append(await refused(wrapped))
        wrapped.clock.now += bans[-1][1]
        await get(wrapped.app)

    assert plain == [["quota-exceeded", 1]] * 5
    assert bans == [["abnormal-usage-detected", seconds] for seconds in (1, 2, 4, 8, 8)]


async def test_a_ban_lasts_as_long_as_told_and_a_request_during_it_prolongs_nothing() -> None:
    wrapped = banning(base=10)
    await get(wrapped.app)
    for _ in range(5):
        await refused(wrapped)

    seen = [await refused(wrapped)]
    for _ in range(20):
        wrapped.clock.now += 0.5
        seen.append(await refused(wrapped))

    assert seen[:2] == [["abnormal-usage-detected", 10]] * 2
    assert seen[2:-1] == [["abnormal-usage-detected", 9 - n // 2] for n in range(18)]
    assert seen[-1] == ["served"]


async def test_a_banned_client_is_refused_on_every_path_and_nobody_else_is() -> None:
    wrapped = banning(
        Limit("1/second", key=by_ip, name="login", paths=["/login"]),
        Limit("9/second", key=by_ip),
        after=0,
        base=60,
    )
    for _ in range(2):
        await get(wrapped.app, "/login")

    assert await refused(wrapped, path="/about") == ["abnormal-usage-detected", 60]
    assert await refused(wrapped, path="/_health") == ["served"]
    assert await refused(wrapped, client="192.0.2.2") == ["served"]


async def test_a_ban_tells_no_quota() -> None:
    wrapped = banning(after=0, base=60)
    await get(wrapped.app)

    reply = await get(wrapped.app)

    assert reply.status == 429
    assert not [name for name in reply.headers if "ratelimit" in name]


async def test_a_ban_is_told_once_and_by_no_name() -> None:
    wrapped = banning(base=60)
    await get(wrapped.app, client="192.0.2.77")

    for _ in range(30):
        await get(wrapped.app, client="192.0.2.77")

    (client,) = {fact.client for fact in wrapped.facts if isinstance(fact, RequestRefused)}
    assert [fact for fact in wrapped.facts if isinstance(fact, ClientBanned)] == [ClientBanned(client, 60)]
    assert "192.0.2.77" not in str(wrapped.facts)
    assert wrapped.count("ratelimit.decisions", decision="limited") == 5
    assert wrapped.count("ratelimit.decisions", decision="banned") == 25


async def test_each_ban_of_a_client_is_told() -> None:
    wrapped = banning(after=0)
    for _ in range(3):
        while await refused(wrapped) == ["served"]:
            pass
        wrapped.clock.now += 10

    assert [fact.seconds for fact in wrapped.facts if isinstance(fact, ClientBanned)] == [1, 2, 4]


async def test_who_was_quiet_for_long_begins_anew() -> None:
    wrapped = banning(after=0, forget=1000)

    async def ban() -> list[Any]:
        await get(wrapped.app)
        told = await refused(wrapped)
        wrapped.clock.now += told[1]
        return told

    before = [await ban() for _ in range(3)]
    wrapped.clock.now += 1001

    assert before == [["abnormal-usage-detected", seconds] for seconds in (1, 2, 4)]
    assert await ban() == ["abnormal-usage-detected", 1]


async def test_a_handler_may_ban_the_client_it_serves_and_let_it_in_again() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        limits = scope["state"]["sipup"].limits
        match scope["path"]:
            case "/spam":
                await limits.ban(60)
            case "/sorry":
                await limits.unban()
        await hello(scope, receive, send)

    wrapped = wrap(app, Limit("100/minute", key=by_ip), backoff=Backoff())
    served = await refused(wrapped, path="/spam")

    banned = await refused(wrapped)
    async with wrapped.layer.open() as limits:
        await limits.unban("192.0.2.1")
        free = await refused(wrapped, path="/sorry")

    assert (served, banned, free) == (["served"], ["abnormal-usage-detected", 60], ["served"])


async def test_a_script_may_ban_and_unban_by_name() -> None:
    wrapped = wrap(hello, Limit("100/minute", key=by_user), user=lambda _: "alice", backoff=Backoff())

    async with wrapped.layer.open() as limits:
        await limits.ban("alice", 60, who="user")
        banned = await refused(wrapped)
        await limits.unban("alice", who="user")
        free = await refused(wrapped)

    assert (banned, free) == (["abnormal-usage-detected", 60], ["served"])


async def test_a_request_may_ask_what_its_client_has_left_and_begin_anew() -> None:
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        limits = scope["state"]["sipup"].limits
        told.append({name: decision.remaining for name, decision in (await limits.peek()).items()})
        if scope["path"] == "/pay":
            await limits.reset()
        await hello(scope, receive, send)

    wrapped = wrap(app, five_a_minute(), Limit("9/minute", key=by_ip, name="wide"))

    for path in ("/", "/pay", "/"):
        await get(wrapped.app, path)

    assert told == [{"ip": 4, "wide": 8}, {"ip": 3, "wide": 7}, {"ip": 4, "wide": 8}]


@pytest.mark.parametrize("method", ["ban", "unban"])
async def test_who_is_not_counted_cannot_be_banned_through_its_request(method: str) -> None:
    raised: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        limits = scope["state"]["sipup"].limits
        for options in ({"who": "user"}, {}):
            try:
                await (limits.ban(60, **options) if method == "ban" else limits.unban(**options))
            except ConfigurationError as error:
                raised.append(error)
        await hello(scope, receive, send)

    wrapped = wrap(app, five_a_minute(), backoff=Backoff())

    await get(wrapped.app, "/")
    await get(wrapped.app, "/_health")

    assert len(raised) == 3


async def test_a_script_hears_of_a_limit_that_is_none_and_of_bans_that_nobody_would_look_up() -> None:
    async with wrap(hello, five_a_minute()).layer.open() as limits:
        with pytest.raises(ConfigurationError, match="there are: ip"):
            await limits.peek("login", "192.0.2.1")
        with pytest.raises(ConfigurationError, match=r"RateLimit\.backoff"):
            await limits.ban("192.0.2.1", 60)
        with pytest.raises(ConfigurationError, match="more than 0"):
            await limits.ban("192.0.2.1", 0)


async def handshake(wrapped: Wrapped, **scope: Any) -> list[Message]:
    sent: list[Message] = []
    unread: list[Message] = [{"type": "websocket.connect"}]

    async def receive() -> Message:
        return unread.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    await wrapped.app({**http_scope(**scope), "type": "websocket"}, receive, send)
    assert not unread, "the handshake was not read"
    return sent


async def test_a_handshake_over_the_limit_is_answered_where_the_server_lets_us() -> None:
    wrapped = wrap(hello, Limit("1/minute", key=by_ip, strategy="fixed"))
    await get(wrapped.app)

    start, body = await handshake(wrapped, extensions={"websocket.http.response": {}})

    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 429
    assert (b"retry-after", b"60") in start["headers"]
    assert (b"ratelimit", b'"ip";r=0;t=60') in start["headers"]
    assert body["type"] == "websocket.http.response.body"
    assert b"quota-exceeded" in body["body"]


@pytest.mark.parametrize("extensions", [None, {}])
async def test_a_handshake_over_the_limit_is_else_closed_before_it_is_accepted(extensions: Any) -> None:
    wrapped = wrap(hello, Limit("1/minute", key=by_ip, strategy="fixed"))
    await get(wrapped.app)

    sent = await handshake(wrapped, extensions=extensions)

    assert sent == [{"type": "websocket.close", "code": 1013, "reason": "Too Many Requests"}]


async def test_a_handshake_from_a_denied_network_is_a_403() -> None:
    wrapped = wrap(hello, deny=["192.0.2.0/24"])

    start, _ = await handshake(wrapped, extensions={"websocket.http.response": {}})
    closed = await handshake(wrapped)

    assert start["status"] == 403
    assert closed == [{"type": "websocket.close", "code": 1008, "reason": "Forbidden"}], (
        "it need not try again later"
    )


def a_post(*headers: tuple[str, str], version: str = "1.1") -> dict[str, Any]:
    return http_scope(method="POST", headers=headers, http_version=version)


@pytest.mark.parametrize(
    ("scope", "unread"),
    [
        (a_post(("Content-Length", "5")), True),
        (a_post(("Content-Length", str(MOST))), True),
        (a_post(("Transfer-Encoding", "chunked")), True),
        (a_post(("Content-Length", "5"), version="1.0"), True),
        (a_post(), False),
        (a_post(("Content-Length", "0")), False),
        (a_post(("Content-Length", str(MOST + 1))), False),
        (a_post(("Content-Length", "some")), False),
        (a_post(("Content-Length", "5"), ("Expect", "100-continue")), False),
        (a_post(("Content-Length", "5"), version="2"), False),
        (http_scope(headers=[("Content-Length", "5")]), False),
    ],
)
def test_a_body_is_read_where_that_keeps_the_connection(scope: dict[str, Any], *, unread: bool) -> None:
    assert is_unread(scope) is unread


class Upload:
    """A client that sends its body in parts, and what it was told when each was asked for.

    None among the parts: it waits for its answer.
    """

    def __init__(self, *parts: Message | None) -> None:
        self.parts = list(parts)
        self.told: list[Message] = []
        self.when_asked: list[int] = []
        self.answered = anyio.Event()

    async def receive(self) -> Message:
        self.when_asked.append(len(self.told))
        if not self.parts:
            await anyio.sleep_forever()
        if self.parts[0] is None:
            await self.answered.wait()
            self.parts.pop(0)
        part = self.parts.pop(0)
        assert part
        return part

    async def send(self, message: Message) -> None:
        self.told.append(message)
        if message["type"] == "http.response.body":
            self.answered.set()


def part(size: int, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


async def refuse_upload(client: Upload) -> None:
    wrapped = wrap(hello, deny=["192.0.2.0/24"])
    await wrapped.app(a_post(("Transfer-Encoding", "chunked")), client.receive, client.send)


async def test_a_client_has_its_status_before_its_body_is_read_and_the_rest_when_that_has_come() -> None:
    client = Upload(part(10), part(10), part(10, more=False))

    await refuse_upload(client)

    start, body = client.told
    assert start["status"] == 403
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
    assert not body.get("more_body")
    assert client.when_asked == [1, 1, 1]


async def test_a_client_that_waits_for_its_answer_has_it_and_then_its_body_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sipup_middleware.ratelimit.unread.PAUSE", 0.01)
    client = Upload(part(10), None, part(10, more=False))

    with anyio.fail_after(10):
        await refuse_upload(client)

    _, body, end = client.told
    assert b"Forbidden" in body["body"]
    assert body["more_body"]
    assert end == {"type": "http.response.body"}
    assert client.when_asked == [1, 1, 2]


async def test_no_more_is_read_than_a_connection_is_worth() -> None:
    client = Upload(*[part(64 * 1024)] * 100)

    await refuse_upload(client)

    assert len(client.when_asked) == 5
    assert not client.told[-1].get("more_body")


async def test_a_client_that_hangs_up_is_not_waited_for() -> None:
    client = Upload(part(10), {"type": "http.disconnect"})

    await refuse_upload(client)

    assert client.when_asked == [1, 1]


async def test_nor_is_one_that_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipup_middleware.ratelimit.unread.PATIENCE", 0.01)
    client = Upload(part(10))

    with anyio.fail_after(10):
        await refuse_upload(client)

    assert client.told[-1] == {"type": "http.response.body"}
