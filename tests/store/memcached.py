"""A throwaway Memcached; aiomcache speaks TCP alone, so it listens on a port of this host."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sipup_middleware.services.process import Nest
from sipup_middleware.services.server import Server


class Memcached(Server):
    """A restart keeps its URL."""

    _name = "memcached"
    _stopping = signal.SIGTERM
    _ending = signal.SIGKILL

    def __init__(self, nest: Nest, binary: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        super().__init__(nest, [binary, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0"])

    @property
    def url(self) -> str:
        return f"memcached://127.0.0.1:{self.port}"

    def ask(self, command: bytes, until: bytes = b"\r\n") -> bytes:
        """Send a command of the text protocol; return the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
            client.sendall(command)
            answer = b""
            while not answer.endswith(until):
                answer += client.recv(4096)
        return answer

    def _is_ready(self) -> bool:
        try:
            return self.ask(b"version\r\n").startswith(b"VERSION")
        except OSError:
            return False


@contextmanager
def run_memcached() -> Iterator[Memcached]:
    """Keep one running; it ends with this process."""
    binary = shutil.which("memcached")
    if binary is None:
        pytest.skip("memcached is not installed: make debian")
    nest = Nest()
    try:
        server = Memcached(nest, binary)
        server.start()
        yield server
    finally:
        nest.close()
