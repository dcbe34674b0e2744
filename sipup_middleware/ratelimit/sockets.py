"""Websockets: what a client may send over all of its sockets together.

Counted in this process: a message is not worth a round trip, and a socket lives in one process anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from starlette.types import Message, Receive, Send

from sipup_middleware.ratelimit.backend import parse_rate
from sipup_middleware.ratelimit.limit import Limit
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.policy import Decision, Rule
from sipup_middleware.ratelimit.rules import Ask

__all__ = ("MessageLimits", "Talk", "status_of")

_POLICY_VIOLATION = 1008
"""RFC 6455, section 7.4.1."""


_FORBIDDEN = 403
_SWITCHING_PROTOCOLS = 101


def status_of(message: Message) -> int | None:
    """Return the status that *message* answers a request with, or a handshake; None = it does not.

    Only the first such message does: a socket is closed when it was long accepted, too.
    """
    match message["type"]:
        case "http.response.start" | "websocket.http.response.start":
            return int(message["status"])
        case "websocket.accept":
            return _SWITCHING_PROTOCOLS
        case "websocket.close":
            return _FORBIDDEN
    return None


class MessageLimits:
    """The ``messages`` of some limits."""

    def __init__(self, limits: Sequence[Limit], *, shadow: bool = False) -> None:
        self._rules: dict[int, Rule] = {}
        for index, limit in enumerate(limits):
            if limit.messages is not None:
                amount, seconds = parse_rate(limit.messages)
                self._rules[index] = Rule(
                    index=index,
                    name=limit.name or "",
                    amount=amount,
                    period=seconds * 1000,
                    shadow=shadow or limit.shadow,
                )
        self.limiter = MemoryLimiter([*self._rules.values()])

    def of(self, asks: Sequence[Ask]) -> list[Ask]:
        """Return whom a socket's messages are counted against; none = they are not."""
        return [(self._rules[rule.index], name) for rule, name in asks if rule.index in self._rules]

    def decide(self, asks: Sequence[Ask]) -> Decision:
        """Count one message."""
        return self.limiter.decide(asks)


class Talk:
    """One socket: the message that is too much closes it, and the app hears that it is closed."""

    def __init__(self, receive: Receive, send: Send, admits: Callable[[], bool]) -> None:
        self._receive = receive
        self._send = send
        self._admits = admits
        self._closed = False
        self._left = False  # the app itself has closed it

    async def receive(self) -> Message:
        """Hand on what the client sends."""
        if self._closed:
            return {"type": "websocket.disconnect", "code": _POLICY_VIOLATION}
        message = await self._receive()
        if self._left:
            return message
        if message["type"] != "websocket.receive" or self._admits():
            return message
        await self._close()
        return {"type": "websocket.disconnect", "code": _POLICY_VIOLATION}

    async def send(self, message: Message) -> None:
        """Hand on what the app says, unless the socket is closed."""
        if not self._closed:
            self._left = self._left or message["type"] == "websocket.close"
            await self._send(message)

    async def _close(self) -> None:
        self._closed = True
        with suppress(OSError):  # the client is gone already
            await self._send(
                {"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": "too many messages"}
            )
