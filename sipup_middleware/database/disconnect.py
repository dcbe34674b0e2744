"""Whether the client of one request is still there, for those who would work on in vain.

Servers tell it by the next message. While a statement runs for long and the app is not listening, one reader
of ours does, for the rest of the request: never two at once, and nothing that it reads is lost to the app.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

from anyio import CancelScope, Event
from starlette.types import Message, Receive, Send

from sipup_middleware.bridge import running_loop
from sipup_middleware.errors import ClientDisconnected

__all__ = ("Client",)

_PATIENCE = 0.05
"""Seconds that a statement runs before anybody looks whether it is still wanted."""

_AHEAD = 65_536
"""Bytes of a body that are read before the app asks for them: the client's goodbye comes behind them."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Client:
    """Who waits for the answer to one request: give its `receive` and `send` to the app."""

    __slots__ = (
        "_answered",
        "_app_listens",
        "_news",
        "_receive",
        "_send",
        "_stop",
        "_unread",
        "_wanted",
        "gone",
    )

    def __init__(self, receive: Receive, send: Send) -> None:
        self.gone = False
        self._receive = receive
        self._send = send
        self._answered = False
        self._app_listens = False
        self._unread: deque[Message] = deque()
        self._news = Event()
        self._stop: Callable[[], object] | None = None
        self._wanted: set[CancelScope] = set()

    async def receive(self) -> Message:
        """Return the next message, whoever of us has read it."""
        while self._stop is not None and not self._unread:
            await self._news.wait()
        if self._unread:
            return self._unread.popleft()
        self._app_listens = True
        try:
            message = await self._receive()
        finally:
            self._app_listens = False
        self._hear(message)
        if self._wanted:
            self._listen()
        return message

    async def send(self, message: Message) -> None:
        """Pass *message* on; after the last one the client is free to go."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
        await self._send(message)

    async def while_there(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Await ``function(*args)``, cancelled where the client leaves: `ClientDisconnected`."""
        if self._answered:
            return await function(*args)
        with CancelScope() as scope:
            stop = _later(_PATIENCE, lambda: self._watch(scope))
            try:
                return await function(*args)
            finally:
                stop()
                self._wanted.discard(scope)
        raise ClientDisconnected("the client left before its answer was ready")

    def close(self) -> None:
        """Stop reading: the request is over."""
        if self._stop is not None:
            self._stop()

    def _watch(self, scope: CancelScope) -> None:
        self._wanted.add(scope)
        self._hear(None)
        self._listen()

    def _hear(self, message: Message | None) -> None:
        if message is not None and message["type"] == "http.disconnect":
            self.gone = True
        if self.gone and not self._answered:
            for scope in self._wanted:
                scope.cancel()

    def _listen(self) -> None:
        """Read on beside the app, unless it reads itself or has left too much unread."""
        if self._stop is None and not self._app_listens and self._may_read():
            self._stop = _start(self._read)

    def _may_read(self) -> bool:
        return not self.gone and sum(len(each.get("body", b"")) for each in self._unread) < _AHEAD

    async def _read(self) -> None:
        with suppress(Exception):  # the app meets it too, when it reads
            while self._may_read():
                message = await self._receive()
                self._unread.append(message)
                self._hear(message)
                self._tell()
        self._stop = None
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = Event()


def _start(work: Callable[[], Awaitable[None]], after: float = 0) -> Callable[[], object]:
    """Begin *work* beside this task, on its own loop; return what cancels it."""
    if (loop := running_loop()) is not None:
        return loop.create_task(work()).cancel  # type: ignore[arg-type]  # (an async function's is a coroutine)
    import trio  # noqa: PLC0415 (an extra: only a trio host has it)

    scope = trio.CancelScope()

    async def run() -> None:
        with scope:
            await trio.sleep(after)
            await work()

    trio.lowlevel.spawn_system_task(run)
    return scope.cancel


def _later(seconds: float, function: Callable[[], None]) -> Callable[[], object]:
    """Call *function* on this loop after *seconds*; return what forgets it."""
    if (loop := running_loop()) is not None:
        return loop.call_later(seconds, function).cancel

    async def work() -> None:
        function()

    return _start(work, seconds)
