"""A slot of the load shedding, held for one request: how long it took, unless its client decides that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Message, Send

from sipup_middleware.ratelimit.shedder import Ticket

__all__ = ("Slot",)


class Slot:
    """Left exactly once, with what the response took; a response in several parts says nothing of the app."""

    __slots__ = ("_began", "_clock", "_send", "_streams", "_ticket")

    def __init__(self, ticket: Ticket, send: Send, clock: Callable[[], float]) -> None:
        self._ticket = ticket
        self._send = send
        self._clock = clock
        self._began = clock()
        self._streams = False

    def send(self, message: Message) -> Awaitable[None]:
        """Pass it on, and see whether it is a stream."""
        if not self._streams and message.get("more_body"):
            self._streams = True
            self._ticket.stream()
        return self._send(message)

    def forgo(self) -> None:
        """Give the slot to the next, since the app is not asked: how long that took says nothing."""
        self._ticket.leave()

    def leave(self) -> None:
        """Give the slot to the next."""
        self._ticket.leave(None if self._streams else self._clock() - self._began)
