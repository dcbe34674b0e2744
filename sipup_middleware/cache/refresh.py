"""Make a stale answer anew behind the response that it was, without a task: RFC 5861, section 3."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from starlette.types import Message

from sipup_middleware.cache.asking import Ask
from sipup_middleware.telemetry import ErrorUnhandled

__all__ = ("refresh_behind",)

_LONGEST = 60.0
"""Seconds; a refresh that takes longer is given up, and the next request begins another."""


async def refresh_behind(ask: Ask, refresh: Callable[[Ask], Awaitable[None]]) -> None:
    """Ask the app again for what *ask* was answered with; the client may be gone, the server hears nothing.

    What the app raises is told as a fact and a count: the response was complete before.
    """
    nobody = _Nobody()
    ask.refreshes, ask.send, ask.receive = True, nobody.send, nobody.receive
    telemetry = ask.parts.telemetry
    outcome = "failed"
    with anyio.move_on_after(_LONGEST, shield=True):
        try:
            await refresh(ask)
            outcome = "done"
        except Exception as error:  # noqa: BLE001 (whatever the app raises: nobody waits for it)
            route = ask.context.route or ""
            telemetry.emit(ErrorUnhandled(type(error).__name__, route, ask.context.request_id))
    if outcome == "failed":
        ask.land("erred")
    telemetry.counter("cache.refreshes", outcome=outcome).add()


class _Nobody:
    """A client that asks without a body, and goes when it has the whole."""

    def __init__(self) -> None:
        self._asked = False
        self._gone = anyio.Event()

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._gone.set()
