"""A server process of ours: started as an unprivileged user, stopped gently, or killed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sipup_middleware.errors import BackendUnavailable
from sipup_middleware.services import reaper

__all__ = ("Nest", "Server", "unprivileged")

_START = 30.0
"""Seconds until a server that is not ready counts as failed."""

_STOP = 10.0
_LOG_LINES = 15


def unprivileged() -> dict[str, object]:
    """Return what makes `subprocess` drop root's privileges; nothing where there are none to drop."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Nest:
    """The private directory of some servers, and the reaper that outlives their owner."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="sipup-"))
        self._reaper = subprocess.Popen(  # noqa: S603 (our own file, our own interpreter)
            [sys.executable, "-I", "-S", reaper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.tell(f"directory {self.path}")

    def tell(self, line: str) -> None:
        """Announce *line* to the reaper."""
        assert self._reaper.stdin  # noqa: S101 (it was opened as a pipe)
        self._reaper.stdin.write(line + "\n")
        self._reaper.stdin.flush()

    def close(self) -> None:
        """Remove the directory and wait for the reaper, which then has nothing left to do."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._reaper.communicate()

    def give_to(self, path: Path, identity: Mapping[str, object]) -> None:
        """Make *path* belong to the user that a server will run as."""
        if identity:
            os.chown(path, int(str(identity["user"])), int(str(identity["group"])))


class Server:
    """One server process, in a session of its own: a Ctrl-C in the terminal is its owner's to handle."""

    def __init__(
        self,
        nest: Nest,
        command: Sequence[str | Path],
        *,
        log: Path,
        ready: Callable[[], bool],
        identity: Mapping[str, object],
    ) -> None:
        self._nest = nest
        self._command = [str(word) for word in command]
        self._log = log
        self._ready = ready
        self._identity = identity
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; `wait_ready` says when it serves."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (a server binary we found, arguments of our own)
                self._command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._identity,  # type: ignore[call-overload]  # user, group, extra_groups
            )
        self._nest.tell(f"pid {self._process.pid}")

    def wait_ready(self) -> None:
        """Return when the server serves. Raises `BackendUnavailable` with its last words if it does not."""
        deadline = time.monotonic() + _START
        while not self._ready():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise BackendUnavailable(
                    f"{Path(self._command[0]).name} did not start:\n{self._last_words()}"
                )
            time.sleep(0.005)

    def stop(self) -> None:
        """Ask the server to end now (PostgreSQL: fast shutdown), and wait for it."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server and its children as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._nest.tell(f"done {process.pid}")

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
