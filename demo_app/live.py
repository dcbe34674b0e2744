"""``WS /ws``: one product's price and stock as they are now, as often as the client asks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from demo_app.problems import Refused
from demo_app.reading import SMALL, Fields
from demo_app.replies import encode
from sipup_middleware import DatabaseUnavailable, PoolTimeout, QueryTimeout
from sipup_middleware.database import Facade

__all__ = ("live",)

_TOO_BIG = 1009
"""RFC 6455, section 7.4.1."""

_PRODUCT = "SELECT id, sku, name, price, stock FROM products WHERE id = $1"


async def live(websocket: WebSocket) -> None:
    """Answer each message; a connection to the database is borrowed for one answer, not for the socket."""
    with suppress(WebSocketDisconnect):  # it left while its answer was on the way
        await websocket.accept()
        await _converse(websocket, websocket.state.sipup.db)


async def _converse(websocket: WebSocket, db: Facade) -> None:
    while (message := await websocket.receive())["type"] == "websocket.receive":
        data = _data(message)
        if len(data) > SMALL:
            await websocket.close(_TOO_BIG, f"a message must be at most {SMALL} bytes")
            return
        await websocket.send_text(encode(await _answer(db, data)).decode())


def _data(message: Message) -> bytes:
    text: str | None = message.get("text")
    return message["bytes"] if text is None else text.encode("utf-8", "surrogatepass")


async def _answer(db: Facade, data: bytes) -> Mapping[str, Any]:
    try:
        fields = Fields.parse(data, "product", example='{"product": 1}', what="message")
        number = fields.whole("product")
        fields.check()
        product = await db.fetchrow(_PRODUCT, number)
    except Refused as refused:
        return _errors(refused.errors)
    except (DatabaseUnavailable, PoolTimeout, QueryTimeout):
        return _errors({"server": "the database does not answer; ask again"})
    return _errors({"product": "no such product"}) if product is None else dict(product)


def _errors(errors: Mapping[str, str]) -> dict[str, Any]:
    return {"errors": [{"field": field, "detail": detail} for field, detail in errors.items()]}
