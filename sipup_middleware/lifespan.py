"""Keep a resource open for exactly as long as the host keeps the app up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, Protocol, TypeVar

from anyio import CancelScope
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware.bridge import Home, bridge, here

__all__ = ("Handle", "Opening", "run_lifespan")


class Handle(Protocol):
    """What a value opens. Inert when built: it connects at `start` or at its first use."""

    async def start(self) -> None:
        """Warm up, on the handle's home; must not fail because a server is down."""

    async def aclose(self) -> None:
        """Close every connection and background task, on the handle's home."""


H = TypeVar("H", bound=Handle)


class Opening(Generic[H]):
    """Who holds a value's handle open: the first entry builds it, the last closes it.

    Part of a frozen layer, yet not of its value: it neither compares nor prints, nor is pickled with it.
    """

    __slots__ = ("_count", "_handle", "_home", "_lazy", "_started")

    def __init__(self) -> None:
        self._count = 0
        self._handle: H | None = None
        self._home: Home | None = None
        self._lazy = False
        self._started = False

    def __reduce__(self) -> tuple[type[Opening[H]], tuple[()]]:
        return Opening, ()

    @property
    def handle(self) -> H | None:
        """What is open, for those who only look; opens nothing."""
        return self._handle if self._home is not None and self._home.alive else None

    def get(self, build: Callable[[Home], H]) -> H:
        """Return the open handle; where none is, open one lazily on the bridge, until the process ends."""
        if (open_one := self.handle) is not None:
            return open_one
        home = bridge()
        handle = self._keep(build(home), home, lazy=True)
        home.at_exit(handle.aclose)
        return handle

    @asynccontextmanager
    async def open(self, build: Callable[[Home], H]) -> AsyncIterator[H]:
        """Hold the handle open: on the running asyncio loop, or from trio on the bridge."""
        if self._handle is None or self._home is None or not self._home.alive:
            home = here()
            handle = self._keep(build(home), home, lazy=False)
        else:
            home, handle = self._home, self._handle
        self._count += 1
        try:
            if not self._started:
                self._started = True
                await home.call(handle.start)
            yield handle
        finally:
            if self._is_last(handle):
                with CancelScope(shield=True):
                    await home.call(handle.aclose)

    def _keep(self, handle: H, home: Home, *, lazy: bool) -> H:
        self._handle, self._home, self._lazy = handle, home, lazy
        self._count, self._started = 0, False
        return handle

    def _is_last(self, handle: H) -> bool:
        """Leave; say whether *handle* is now to be closed. One that was replaced died with its home."""
        if self._handle is not handle:
            return False
        self._count -= 1
        if self._count or self._lazy:
            return False
        self._handle = None
        return True


async def run_lifespan(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    resource: AbstractAsyncContextManager[object],
) -> None:
    """Serve one ASGI lifespan with *resource* open around the app's own.

    The app's last word is held back until *resource* is closed: a server may
    stop the event loop as soon as it hears that shutdown is complete.
    """
    talk = _Talk(await receive(), receive, send)
    try:
        async with resource:
            try:
                await app(scope, talk.receive, talk.send)
            except Exception:
                if talk.said:
                    raise
            if not talk.said:
                # The app does not speak lifespan: answer in its place.
                await talk.send({"type": "lifespan.startup.complete"})
                await receive()
    except Exception as error:
        await talk.fail(str(error))
        raise
    await talk.end()


class _Talk:
    """What the app hears and says, but for its last word."""

    def __init__(self, first: Message, receive: Receive, send: Send) -> None:
        self.said: list[str] = []
        self._unread = [first]
        self._receive = receive
        self._send = send
        self._last_word: Message = {"type": "lifespan.shutdown.complete"}

    async def receive(self) -> Message:
        return self._unread.pop() if self._unread else await self._receive()

    async def send(self, message: Message) -> None:
        self.said.append(message["type"])
        if message["type"].startswith("lifespan.shutdown."):
            self._last_word = message
        else:
            await self._send(message)

    async def fail(self, reason: str) -> None:
        if "lifespan.startup.failed" not in self.said:
            phase = "shutdown" if self.said else "startup"
            await self._send({"type": f"lifespan.{phase}.failed", "message": reason})

    async def end(self) -> None:
        if "lifespan.startup.failed" not in self.said:
            await self._send(self._last_word)
