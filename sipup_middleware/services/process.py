"""A private directory and the processes in it, by way of their keeper."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sipup_middleware.errors import BackendUnavailable, ConfigurationError
from sipup_middleware.services import keeper
from sipup_middleware.services.account import Account

__all__ = ("Nest",)

_LONGEST_BASE = 70
"""A socket's path may have 103 bytes (macOS; 107 on Linux); ``/sipup-xxxxxxxx/.s.PGSQL.5432`` needs 29."""

_LOG_LINES = 15


class Nest:
    """Where some servers live; its keeper ends them when this process ends."""

    def __init__(self) -> None:
        self.account = Account.current()
        owner, uid, gid = str(os.getpid()), str(self.account.uid), str(self.account.gid)
        self._turn = threading.Lock()
        self._asked = 0
        self._keeper = subprocess.Popen(  # noqa: S603 (our own file, our own interpreter)
            [sys.executable, "-I", "-S", keeper.__file__, _base(self.account), owner, uid, gid],
            bufsize=0,  # what a dead keeper did not read must not come up again when the pipe is closed
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    @cached_property
    def path(self) -> Path:
        """The directory, 0700, owned by the servers' user: waits for the keeper to have made it."""
        assert self._keeper.stdout  # noqa: S101 (it was opened as a pipe)
        assert self._keeper.stderr  # noqa: S101 (it was opened as a pipe)
        if said := self._keeper.stdout.readline():
            return Path(os.fsdecode(said[:-1]))
        raise BackendUnavailable(f"no place for servers:\n{self._keeper.stderr.read().decode().strip()}")

    def spawn(self, name: str, command: Sequence[str | Path], *, ending: signal.Signals) -> int:
        """Start *command* and return its process id; the signal *ending* ends it when we are gone."""
        words = [str(word) for word in command]
        return int(self._ask(do="spawn", name=name, command=words, ending=int(ending)))

    def run(self, name: str, command: Sequence[str | Path]) -> None:
        """Run *command* to its end. Raises `BackendUnavailable` with its last words where it fails."""
        self.spawn(name, command, ending=signal.SIGTERM)
        self.wait(lambda: self.ended(name), within=60.0)
        if self._ask(do="poll", name=name) != 0:
            self.fail(name)

    def ended(self, name: str) -> bool:
        """Return whether *name* has ended."""
        return self._ask(do="poll", name=name) is not None

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send *number* to *name*, if it runs."""
        self._ask(do="signal", name=name, number=int(number))

    def crash(self, name: str) -> None:
        """Kill *name* and its children."""
        self._ask(do="crash", name=name)

    def wait(self, happened: Callable[[], bool], *, within: float) -> bool:
        """Return whether it *happened* within so many seconds."""
        deadline = time.monotonic() + within
        while not happened():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def fail(self, name: str) -> None:
        """Raise `BackendUnavailable` with the last words of *name*."""
        lines = (self.path / f"{name}.log").read_text(errors="replace").splitlines()
        raise BackendUnavailable("\n".join((f"{name} did not start:", *lines[-_LOG_LINES:])))

    def close(self) -> None:
        """End what still runs, and remove the directory."""
        self._keeper.communicate(b"end\n")
        if "path" in self.__dict__:  # the keeper may have been killed
            shutil.rmtree(self.path, ignore_errors=True)

    def _ask(self, **request: object) -> Any:  # noqa: ANN401 (what the keeper replies depends on the request)
        _ = self.path  # the keeper's first line is read before its replies
        assert self._keeper.stdin  # noqa: S101 (it was opened as a pipe)
        assert self._keeper.stdout  # noqa: S101 (it was opened as a pipe)
        with self._turn:
            self._asked += 1
            line = json.dumps({"id": self._asked, **request}).encode() + b"\n"
            try:
                self._keeper.stdin.write(line)
                reply: dict[str, Any] = {"id": 0}
                while reply["id"] != self._asked:  # a Ctrl-C may have left an earlier reply unread
                    reply = json.loads(self._keeper.stdout.readline())
            except (OSError, ValueError):
                raise BackendUnavailable("the keeper of the servers is gone, and they with it") from None
        if "error" in reply:
            raise BackendUnavailable(f"{request.get('name')}: {reply['error']}")
        return reply["value"]


def _base(account: Account) -> str:
    """Return where temporary directories go, if sockets below it have short enough names that work."""
    bases = tempfile.gettempdir(), "/tmp"  # noqa: S108 (only a private directory is made there)
    for base in bases:
        if len(os.fsencode(base)) <= _LONGEST_BASE and account.may_enter(Path(base)):
            return base
    raise ConfigurationError(
        f"no directory for servers: {' and '.join(bases)} are too long or private; set TMPDIR"
    )
