"""Who asks: the task, on asyncio or trio, or the thread; whoever opened a transaction is alone in it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sipup_middleware.bridge import running_loop

__all__ = ("as_this_thread", "on_a_loop", "who_asks")

_THREAD: ContextVar[threading.Thread | None] = ContextVar("sipup_database_thread", default=None)
"""The thread for which a call is made on a loop: it waits meanwhile, so the call is its own."""


def who_asks() -> object:
    """Return what runs this: a task, or the thread that waits for it."""
    if (thread := _THREAD.get()) is not None:
        return thread
    if (loop := running_loop()) is not None:
        return asyncio.current_task(loop)
    if (trio := sys.modules.get("trio")) is not None and trio.lowlevel.in_trio_task():
        return trio.lowlevel.current_task()
    return threading.current_thread()


def on_a_loop() -> bool:
    """Say whether this thread runs an event loop, which must not be kept waiting."""
    trio = sys.modules.get("trio")
    return running_loop() is not None or (trio is not None and trio.lowlevel.in_trio_run())


@contextmanager
def as_this_thread() -> Iterator[None]:
    """Have the calls to a loop that are begun here count as this thread's."""
    token = _THREAD.set(threading.current_thread())
    try:
        yield
    finally:
        _THREAD.reset(token)
