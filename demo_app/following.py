"""A process that ends with the one that started it, however that ended."""

from __future__ import annotations

import os
import signal
import threading
import time

__all__ = ("follow",)

_INTERVAL = 0.5


def follow(owner: int) -> None:
    """Have this process told to end, by SIGTERM, soon after *owner* is its parent no longer."""
    threading.Thread(target=_watch, args=(owner,), name="follow-owner", daemon=True).start()


def _watch(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(_INTERVAL)
    os.kill(os.getpid(), signal.SIGTERM)
