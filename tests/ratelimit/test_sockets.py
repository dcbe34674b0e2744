"""Websockets: counted as they are opened, by what they send, and while they are open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from sipup_middleware import Limit, by_ip, by_user
from sipup_middleware.ratelimit import LoadShed, config
from sipup_middleware.ratelimit.sockets import Talk
from tests.asgi import get, http_scope
from tests.ratelimit.doubles import Server, Wrapped, five_a_minute, wrap

TEXT: Message = {"type": "websocket.receive", "text": "hello"}
GONE: Message = {"type": "websocket.disconnect", "code": 1005}
EXCESS: Message = {"type": "websocket.close", "code": 1008, "reason": "too many messages"}
CUT: Message = {"type": "websocket.disconnect", "code": 1008}


class Chat:
    """Accepts, and answers each message until it hears that the client is gone."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        self.open += 1
        await send({"type": "websocket.accept"})
        while True:
            self.heard.append(message := await receive())
            if message["type"] == "websocket.disconnect":
                self.open -= 1
                return
            if message.get("text") == "fail":
                raise LookupError
            await send({"type": "websocket.send", "text": "and you"})


def chat(*limits: Limit, **options: Any) -> tuple[Wrapped, Chat]:
    app = Chat()
    wrapped = wrap(app, *limits, **options)
    shell: Any = wrapped.app
    shell._messages.limiter.clock = wrapped.clock
    return wrapped, app


async def talk(wrapped: Wrapped, *messages: Message, **scope: Any) -> list[Message]:
    """Open a socket, send *messages* and go; return what it was told."""
    sent: list[Message] = []
    unread = [{"type": "websocket.connect"}, *messages, GONE]

    async def receive() -> Message:
        return unread.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await wrapped.app(socket(**scope), receive, send)
    return sent


def socket(**scope: Any) -> dict[str, Any]:
    made = {**http_scope(**scope), "type": "websocket", "subprotocols": []}
    del made["method"]
    return made


@asynccontextmanager
async def open_socket(wrapped: Wrapped, **scope: Any) -> AsyncIterator[anyio.CancelScope]:
    """Hold a socket open; at the end its client goes, unless it was cancelled."""
    connected = iter([{"type": "websocket.connect"}])
    leave, cancel = anyio.Event(), anyio.CancelScope()

    async def receive() -> Message:
        if message := next(connected, None):
            return message
        await leave.wait()
        return GONE

    async def send(message: Message) -> None:
        assert message == {"type": "websocket.accept"}

    async def serve() -> None:
        with cancel:
            await wrapped.app(socket(**scope), receive, send)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await anyio.wait_all_tasks_blocked()
        yield cancel
        leave.set()


async def test_a_handshake_is_counted_as_a_get() -> None:
    wrapped, _ = chat(Limit("1/minute", key=by_ip, methods=["GET"], strategy="fixed"))

    first, second = await talk(wrapped), await talk(wrapped)

    assert first == [{"type": "websocket.accept"}]
    assert second[0]["type"] == "websocket.close"


async def test_an_accepted_handshake_is_told_nothing() -> None:
    wrapped, _ = chat(five_a_minute())

    assert await talk(wrapped, TEXT) == [
        {"type": "websocket.accept"},
        {"type": "websocket.send", "text": "and you"},
    ]


async def test_a_refused_handshake_never_reaches_the_app() -> None:
    wrapped, app = chat(Limit("1/minute", key=by_ip))
    await talk(wrapped)

    refused = await talk(wrapped, TEXT)

    assert [message["type"] for message in refused] == ["websocket.close"]
    assert app.heard == [GONE]


async def test_handshakes_and_requests_are_counted_together() -> None:
    wrapped, _ = chat(Limit("1/minute", key=by_ip))
    await talk(wrapped)

    assert (await get(wrapped.app)).status == 429


async def test_the_message_too_many_closes_the_socket_and_the_app_hears_that_it_is_closed() -> None:
    wrapped, app = chat(five_a_minute(messages="3/second"))

    sent = await talk(wrapped, *[TEXT] * 9)

    assert app.heard == [TEXT] * 3 + [CUT]
    assert sent[-1] == EXCESS
    assert app.open == 0


async def test_messages_within_the_limit_pass_for_ever() -> None:
    wrapped, app = chat(five_a_minute(messages="3/second"))

    for _ in range(10):
        await talk(wrapped, TEXT, TEXT, TEXT)
        wrapped.clock.now += 20

    assert app.heard == [TEXT, TEXT, TEXT, GONE] * 10


async def test_all_sockets_of_a_client_share_what_it_may_send_and_nobody_elses() -> None:
    wrapped, app = chat(five_a_minute(messages="3/second"))

    first = await talk(wrapped, TEXT, TEXT)
    second = await talk(wrapped, TEXT, TEXT)
    other = await talk(wrapped, TEXT, TEXT, client="192.0.2.2")

    assert EXCESS not in first
    assert second[-1] == EXCESS
    assert EXCESS not in other
    assert app.heard.count(CUT) == 1


async def test_each_limit_with_messages_bounds_its_own_client() -> None:
    wrapped, _ = chat(
        five_a_minute(messages="100/second"),
        Limit("5/minute", key=by_user, messages="2/second"),
        user=lambda _: "alice",
    )

    assert (await talk(wrapped, *[TEXT] * 3))[-1] == EXCESS


async def test_a_limit_in_shadow_closes_no_socket_and_counts_what_it_would_have() -> None:
    wrapped, app = chat(five_a_minute(messages="3/second", shadow=True))

    await talk(wrapped, *[TEXT] * 5)

    assert app.heard == [TEXT] * 5 + [GONE]
    assert wrapped.count("ratelimit.decisions", decision="shadowed") == 2


async def test_a_layer_in_shadow_closes_no_socket() -> None:
    wrapped, app = chat(Limit("1/minute", key=by_ip, messages="1/second"), mode="shadow")

    for _ in range(2):
        await talk(wrapped, TEXT, TEXT)

    assert app.heard == [TEXT, TEXT, GONE] * 2


async def test_messages_are_counted_on_while_the_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "connect", lambda *_, **__: Server(broken=True))
    wrapped, _ = chat(five_a_minute(messages="3/second"), storage="redis://nowhere", on_outage="open")

    assert (await talk(wrapped, *[TEXT] * 4))[-1] == EXCESS


async def test_what_the_app_says_after_that_is_dropped() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return TEXT

    cut = Talk(receive, send, lambda: False)
    heard = [await cut.receive(), await cut.receive()]
    await cut.send({"type": "websocket.send", "text": "and you"})
    await cut.send({"type": "websocket.close"})

    assert heard == [CUT, CUT]
    assert sent == [EXCESS]


async def test_a_socket_that_the_app_has_closed_is_not_closed_again() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return TEXT

    closed = Talk(receive, send, lambda: False)
    await closed.send({"type": "websocket.close"})

    assert await closed.receive() == TEXT
    assert sent == [{"type": "websocket.close"}]


async def test_a_client_that_is_gone_already_need_not_be_closed() -> None:
    async def send(message: Message) -> None:
        raise OSError

    async def receive() -> Message:
        return TEXT

    assert await Talk(receive, send, lambda: False).receive() == CUT


@pytest.mark.parametrize("shed", [LoadShed(max_inflight=2), LoadShed(max_per_client=2)])
async def test_so_many_sockets_are_open_and_no_more(shed: LoadShed) -> None:
    wrapped, _ = chat(Limit("99/minute", key=by_ip), shed=shed)

    async with open_socket(wrapped), open_socket(wrapped):
        refused = await talk(wrapped)
        answered = await talk(wrapped, extensions={"websocket.http.response": {}})

    assert [message["type"] for message in refused] == ["websocket.close"]
    assert refused[0]["code"] == 1013
    assert answered[0]["status"] == 503
    assert b"temporary-reduced-capacity" in answered[1]["body"]


async def test_what_a_client_may_hold_open_is_no_bound_for_others() -> None:
    wrapped, _ = chat(Limit("99/minute", key=by_ip), shed=LoadShed(max_per_client=1))

    async with open_socket(wrapped):
        other = await talk(wrapped, client="192.0.2.2")

    assert other == [{"type": "websocket.accept"}]


@pytest.mark.parametrize("end", ["disconnect", "error", "cancel", "excess"])
async def test_a_socket_leaves_its_place_however_it_ends(end: str) -> None:
    wrapped, _ = chat(
        Limit("99/minute", key=by_ip, messages="1/second"), shed=LoadShed(max_inflight=1, queue=0)
    )

    match end:
        case "disconnect":
            await talk(wrapped)
        case "error":
            with pytest.raises(LookupError):
                await talk(wrapped, {**TEXT, "text": "fail"})
        case "cancel":
            async with open_socket(wrapped) as scope:
                scope.cancel()
        case "excess":
            await talk(wrapped, TEXT, TEXT)

    assert wrapped.gauge("ratelimit.inflight") == 0
    assert await talk(wrapped) == [{"type": "websocket.accept"}]
