"""Let the app answer, and store nothing."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import Message, Send

from sipup_middleware.cache.status import Told

__all__ = ("marked",)


def marked(send: Send, told: Told, target: bytes | None) -> Send:
    """Wrap *send* so that the response starts with the lines *told*, and without the field *target*."""
    if not told and target is None:
        return send

    def send_marked(message: Message) -> Awaitable[None]:  # not a coroutine of its own: one less a message
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != target]
            message = {**message, "headers": [*headers, *told]}
        return send(message)

    return send_marked
