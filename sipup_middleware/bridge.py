"""Where asyncio-only libraries live, and how any loop calls them there.

asyncpg, redis-py and SAQ's client belong to the asyncio loop that made their sockets. That loop is a `Home`:
the host's own where it runs asyncio and sent a lifespan, else one asyncio loop in a daemon thread of this
process (`bridge`), which outlives host loops and closes what lives there at exit. A call from elsewhere hops
once; its cancellation is forwarded and awaited for `GRACE` seconds.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from asyncio import _get_running_loop as running_loop  # public in asyncio: the other form raises outside
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar, TypeVarTuple

from anyio import CancelScope

__all__ = ("GRACE", "Background", "Home", "bridge", "here", "running_loop", "spawn")

GRACE = 1.0
"""Seconds that a cancelled caller waits for its call to end."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_LOGGER = logging.getLogger("sipup_middleware")


class Home:
    """An asyncio loop that something lives on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._closers: list[Callable[[], Awaitable[object]]] = []

    @property
    def alive(self) -> bool:
        """Whether the loop runs, so that it can be called."""
        return self.loop.is_running()

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on this very loop."""
        return running_loop() is self.loop

    async def call(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Await ``function(*args)`` on this loop, from any asyncio or trio task, with its ContextVars."""
        if self.is_here:
            return await function(*args)
        hop = _Hop(self.loop, function, args)
        return await (_from_trio(hop) if running_loop() is None else _from_asyncio(hop))

    def post(self, function: Callable[[*Ts], object], *args: *Ts) -> None:
        """Run ``function(*args)`` on this loop soon; dropped if the loop is closed."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *args)

    def at_exit(self, close: Callable[[], Awaitable[object]]) -> None:
        """Await ``close()`` when the process ends; for what was opened lazily on the `bridge`."""
        self._closers.append(close)

    async def close_all(self) -> None:
        """Await what `at_exit` was given, the last first, for `GRACE` seconds together."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                while self._closers:
                    with suppress(Exception):
                        await self._closers.pop()()


class Background:
    """An asyncio task that works until it is closed."""

    def __init__(self, home: Home, work: Callable[[], Awaitable[None]], name: str) -> None:
        self._home = home
        self._work = work
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        if home.is_here:
            self._start()
        else:
            home.post(self._start)

    async def aclose(self) -> None:
        """Cancel the task and wait until it has ended."""
        await self._home.call(self._stop)

    def _start(self) -> None:
        if not self._closed:
            self._task = self._home.loop.create_task(self._run(), name=self._name)

    async def _stop(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._work()
        except Exception as error:  # noqa: BLE001 (nobody awaits a background task: its end is told here)
            _LOGGER.error("background task %s ended by %s", self._name, type(error).__name__)  # noqa: TRY400 (a traceback may hold a URL)


def spawn(home: Home, work: Callable[[], Awaitable[None]], *, name: str) -> Background:
    """Begin *work* in the background on *home*: the only way that background work starts."""
    return Background(home, work, name)


def here() -> Home:
    """Return the running asyncio loop as a home; from trio, or outside any loop, the `bridge`."""
    loop = running_loop()
    return bridge() if loop is None else Home(loop)


class _Hop(Generic[T]):
    """One call on its way to another loop and back."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, function: Callable[..., Awaitable[T]], args: tuple[Any, ...]
    ) -> None:
        self.cancelled = False
        self._loop = loop
        self._function = function
        self._args = args
        self._task: asyncio.Task[T] | None = None
        self._wake: Callable[[], object] | None = None

    def start(self, wake: Callable[[], object]) -> None:
        """Begin the call; *wake* is called once, on the other thread, when there is an `outcome`."""
        self._wake = wake
        self._loop.call_soon_threadsafe(self._begin)  # copies the caller's ContextVars

    def cancel(self) -> None:
        """Ask the call to end; its `outcome` comes within `GRACE` seconds."""
        self._loop.call_soon_threadsafe(self._cancel)

    def outcome(self) -> T:
        """Return or raise what the call did."""
        if self._task is None or not self._task.done():
            raise TimeoutError("a cancelled call did not end in time")
        return self._task.result()

    async def _run(self) -> T:
        return await self._function(*self._args)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._finish)

    def _cancel(self) -> None:
        if self._task is not None and self._task.cancel():
            self.cancelled = True
            self._loop.call_later(GRACE, self._finish)

    def _finish(self, task: asyncio.Task[T] | None = None) -> None:
        if task is not None and not task.cancelled():
            task.exception()  # seen: asyncio need not report it, even if the caller gave up
        wake, self._wake = self._wake, None
        if wake is not None:
            with suppress(RuntimeError):  # the caller's loop was closed under it
                wake()


async def _from_trio(hop: _Hop[T]) -> T:
    import trio  # noqa: PLC0415 (an extra: only a trio host has it)

    token = trio.lowlevel.current_trio_token()
    task = trio.lowlevel.current_task()
    raise_cancel: Callable[[], Any] | None = None

    def abort(raise_cancelled: Callable[[], Any]) -> trio.lowlevel.Abort:
        nonlocal raise_cancel
        raise_cancel = raise_cancelled
        hop.cancel()
        return trio.lowlevel.Abort.FAILED  # `hop` wakes us when the call has ended

    hop.start(lambda: token.run_sync_soon(trio.lowlevel.reschedule, task))
    await trio.lowlevel.wait_task_rescheduled(abort)
    if raise_cancel is not None and hop.cancelled:
        raise_cancel()
    return hop.outcome()


async def _from_asyncio(hop: _Hop[T]) -> T:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    hop.start(lambda: loop.call_soon_threadsafe(ended.set))
    try:
        await ended.wait()
    except asyncio.CancelledError:
        hop.cancel()
        with CancelScope(shield=True):  # an anyio scope would cancel this wait over and over
            await ended.wait()
        raise
    return hop.outcome()


_bridge: Home | None = None
_bridge_lock = threading.Lock()


def bridge() -> Home:
    """Return the asyncio loop in this process's daemon thread; the first call starts it."""
    global _bridge  # noqa: PLW0603 (one thread a process is the point)
    with _bridge_lock:
        if _bridge is None or not _bridge.alive:
            _bridge = _start_thread()
        return _bridge


def _start_thread() -> Home:
    home = Home(_new_loop())
    started = threading.Event()

    def run() -> None:
        home.loop.call_soon(started.set)
        home.loop.run_forever()
        home.loop.close()

    thread = threading.Thread(target=run, name="sipup-bridge", daemon=True)
    thread.start()
    started.wait()
    atexit.register(_stop_thread, home, thread, os.getpid())
    return home


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 (not a dependency: used if it is there)
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _stop_thread(home: Home, thread: threading.Thread, pid: int) -> None:
    if os.getpid() != pid or not home.alive:
        return
    with suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(home.close_all(), home.loop).result(2 * GRACE)
    home.post(home.loop.stop)
    thread.join(GRACE)


def _forget_after_fork() -> None:
    """Start over in a forked child: it has the parent's loop but not its thread."""
    global _bridge, _bridge_lock
    _bridge, _bridge_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
