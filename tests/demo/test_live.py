"""The websocket: each message is answered from PostgreSQL, a wrong one by its faults, and it stays open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import orjson
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from starlette.types import Message

from demo_app import create_app
from sipup_middleware import Settings
from sipup_middleware.database import Facade
from tests.asgi import http_scope
from tests.demo.conftest import Client, new_client


@dataclass
class Socket:
    """The client's end."""

    inbox: ObjectSendStream[Message]
    outbox: ObjectReceiveStream[Message]

    async def ask(self, text: str | bytes) -> Any:
        """Send a message; return the answer, or the code of the close."""
        kind = "bytes" if isinstance(text, bytes) else "text"
        await self.inbox.send({"type": "websocket.receive", kind: text})
        with anyio.fail_after(10):
            reply = await self.outbox.receive()
        return orjson.loads(reply["text"]) if reply["type"] == "websocket.send" else reply["code"]

    async def faults(self, text: str | bytes) -> set[str]:
        return {each["field"] for each in (await self.ask(text))["errors"]}


@asynccontextmanager
async def connected(shop: Client) -> AsyncIterator[Socket]:
    inbox, unread = anyio.create_memory_object_stream[Message](8)
    unseen, outbox = anyio.create_memory_object_stream[Message](8)
    scope = http_scope("/ws", client=shop.address, type="websocket", scheme="ws", subprotocols=[])
    del scope["method"]
    with inbox, unread, unseen, outbox:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shop.serve, scope, unread.receive, unseen.send)
            await inbox.send({"type": "websocket.connect"})
            assert (await outbox.receive())["type"] == "websocket.accept"
            yield Socket(inbox, outbox)
            await inbox.send({"type": "websocket.disconnect", "code": 1000})


async def test_a_product_is_shown_as_it_is_now(shop: Client, db: Facade, product: Mapping[str, Any]) -> None:
    async with connected(shop) as socket:
        first = await socket.ask(orjson.dumps({"product": product["id"]}).decode())
        await db.execute("UPDATE products SET stock = 7 WHERE id = $1", product["id"])
        second = await socket.ask(orjson.dumps({"product": product["id"]}))

    shown = {name: product[name] for name in ("id", "sku", "name")} | {"price": str(product["price"])}
    assert first == {**shown, "stock": 1000}
    assert second == {**shown, "stock": 7}


MESSAGES = {
    "": {"message"},
    "{": {"message"},
    "[1]": {"message"},
    "{}": {"product"},
    '{"product": "1"}': {"product"},
    '{"product": true, "size": 1}': {"product", "size"},
    '{"product": 20001}': {"product"},
    '{"product": 99999999999}': {"product"},
}


async def test_a_wrong_message_is_answered_by_its_faults_and_the_socket_stays_open(shop: Client) -> None:
    async with connected(shop) as socket:
        answers = {text: await socket.faults(text) for text in MESSAGES}
        garbage = await socket.faults(b"\xff\x00")
        right = await socket.ask('{"product": 61}')

    assert answers == MESSAGES
    assert garbage == {"message"}
    assert right["id"] == 61


async def test_a_message_may_have_a_kibibyte_and_no_more(shop: Client) -> None:
    message = '{"product": 62}'

    async with connected(shop) as socket:
        answer = await socket.ask(message + " " * (1024 - len(message)))
        close = await socket.ask(message + " " * (1025 - len(message)))
    async with connected(shop) as socket:
        wide = await socket.ask("é" * 513)

    assert answer["id"] == 62
    assert close == wide == 1009


async def test_an_open_socket_keeps_no_connection_to_the_database(narrow_shop: Client) -> None:
    async with connected(narrow_shop) as one, connected(narrow_shop) as other:
        answers = [await socket.ask('{"product": 63}') for socket in (one, other, one)]
        page = await narrow_shop.get("/products/63")

    assert [answer["id"] for answer in answers] == [63] * 3
    assert page.status == 200


async def test_without_a_database_it_says_so_and_stays_open(redis_url: str) -> None:
    app = create_app(Settings(database_url="postgresql://app@127.0.0.1:1/app", redis_url=redis_url))

    async with connected(new_client(app)) as socket:
        answers = [await socket.faults('{"product": 1}') for _ in range(2)]
        wrong = await socket.faults("?")

    assert answers == [{"server"}] * 2
    assert wrong == {"message"}


async def test_a_client_that_is_gone_before_its_answer_is_no_error(shop: Client) -> None:
    unread: list[Message] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": '{"product": 64}'},
    ]

    async def receive() -> Message:
        return unread.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "websocket.send":
            raise OSError

    scope = http_scope("/ws", client=shop.address, type="websocket", scheme="ws", subprotocols=[])

    await shop.app(scope, receive, send)

    assert unread == []
