"""Servers for the length of a bench: each on a port of its own, its files in one temporary directory.

They run as whoever runs the bench, in sessions of their own: a Ctrl-C is the bench's, which ends them. Should
it be killed, Linux ends them.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sipup_middleware.services.keeper import death_signal

__all__ = ("free_ports", "serving")

_ROOT = Path(__file__).parents[1]
_PATIENCE = 20.0
"""Seconds that a server has to begin, and to end."""

_LAST_WORDS = 200


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on at the moment."""
    with ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in listeners]


@contextmanager
def serving(command: Sequence[str], port: int, *, log: Path) -> Iterator[None]:
    """Keep *command* running, once it listens on *port*. Raises RuntimeError with its last words."""
    with log.open("wb") as words:
        process = subprocess.Popen(  # noqa: S603 (servers that we found)
            command,
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
            preexec_fn=death_signal(signal.SIGTERM),  # noqa: PLW1509 (no other thread runs yet)
        )
    try:
        _wait(process, port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    said = log.read_text(errors="replace").strip()
    raise RuntimeError(f"did not start: {said[-_LAST_WORDS:]}")
