"""A server process of ours: started, stopped, crashed, restarted."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from sipup_middleware.services.process import Nest

__all__ = ("Server",)

_START = 30.0
"""Seconds until a server that is not ready counts as failed."""

_STOP = 10.0
"""Seconds until a server that was asked to stop is killed."""


class Server(ABC):
    """One server of a nest; its URL survives a restart."""

    _name: str
    _stopping: signal.Signals
    """What stops it cleanly."""

    _ending: signal.Signals
    """What ends it when nobody needs its data any more."""

    def __init__(self, nest: Nest, command: Sequence[str | Path]) -> None:
        self._nest = nest
        self._command = command
        self._pid = 0

    @property
    @abstractmethod
    def url(self) -> str:
        """What a client connects to."""

    def start(self, *, wait: bool = True) -> None:
        """Start the server if it does not run and, unless told otherwise, `wait_ready`."""
        if not self.running:
            self._pid = self._nest.spawn(self._name, self._command, ending=self._ending)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Return when the server serves. Raises `BackendUnavailable` with its last words if it does not."""
        ready = False

        def ready_or_ended() -> bool:
            nonlocal ready
            ready = self._is_ready()
            return ready or self._nest.ended(self._name)

        self._nest.wait(ready_or_ended, within=_START)
        if not ready:
            self._nest.fail(self._name)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._pid != 0 and not self._nest.ended(self._name)

    def stop(self) -> None:
        """Ask the server to end its sessions and itself, and wait for it."""
        if not self.running:
            return
        self._nest.signal(self._name, self._stopping)
        if not self._nest.wait(lambda: not self.running, within=_STOP):
            self.kill()

    def kill(self) -> None:
        """Crash the server: ``kill -9`` for it and all its children."""
        if self.running:
            self._nest.crash(self._name)

    def restart(self) -> None:
        """Stop and start; the URL stays."""
        self.stop()
        self.start()

    @abstractmethod
    def _is_ready(self) -> bool:
        """Return whether the server serves."""
