"""Own the servers of one process, and end them when it ends, however it ends.

A process of its own in a session of its own: a Ctrl-C does not reach it, nor what kills its owner. It
makes the directory, starts the servers as its children, and hears from its owner's pipe one JSON object a
line, ``{"id": 1, "do": "spawn" | "poll" | "signal" | "crash", ...}``, or ``end``. The pipe ends with its
owner, even at ``kill -9``; then the servers are ended and the directory is removed. Should the keeper be
killed itself, Linux ends the servers (it has one thread, so their death signal means the process), and the
next keeper removes the directory: its lock is free.

Run by path, isolated: it imports nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ("PREFIX", "Keeper", "death_signal", "main")

PREFIX = "sipup-"
_LOCK = "lock"
_PATIENCE = 10.0
"""Seconds between asking a server to end and killing it, and for its directory to go."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Keeper:
    """The servers of one owner, in one directory."""

    def __init__(self, base: Path, *, uid: int, gid: int) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        self._lock = _lock(self.home)
        self._drop: dict[str, Any] = {}
        if os.geteuid() != uid:
            os.chown(self.home, uid, gid)
            self._drop = {"user": uid, "group": gid, "extra_groups": []}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._endings: dict[str, int] = {}

    def answer(self, line: bytes) -> bytes:
        """Do what *line* asks and return the reply to it."""
        request = json.loads(line)
        do: dict[str, Callable[..., int | None]] = {
            "crash": self.crash,
            "poll": self.poll,
            "signal": self.signal,
            "spawn": self.spawn,
        }
        reply: dict[str, int | str | None] = {"id": request.pop("id")}
        try:
            reply["value"] = do[request.pop("do")](**request)
        except OSError as error:
            reply["error"] = str(error)
        return json.dumps(reply).encode() + b"\n"

    def spawn(self, *, name: str, command: Sequence[str], ending: int) -> int:
        """Start *command*, to be ended by the signal *ending*; its output goes to ``<name>.log``."""
        with (self.home / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 (a server that our owner found)
                command,
                cwd=self.home,
                env={"PATH": os.defpath, "TZ": "UTC"},  # a stray PGPORT would move the socket
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
                preexec_fn=death_signal(ending),  # noqa: PLW1509 (this process has one thread)
                **self._drop,
            )
        self._children[name], self._endings[name] = child, ending
        return child.pid

    def poll(self, *, name: str) -> int | None:
        """Return the exit code of *name*, or None while it runs."""
        return self._children[name].poll()

    def signal(self, *, name: str, number: int) -> None:
        """Send *number* to *name*, if it runs."""
        self._children[name].send_signal(number)

    def crash(self, *, name: str) -> None:
        """Kill *name* and its children at once: a busy PostgreSQL session would outlive its postmaster."""
        child = self._children[name]
        if child.poll() is not None:
            return
        child.send_signal(signal.SIGSTOP)
        orphans = _children_of(child.pid)
        child.kill()
        child.wait()
        _kill(orphans)

    def end(self) -> None:
        """End every server, gently first, then whatever they left, and remove the directory."""
        for name, child in self._children.items():
            child.send_signal(self._endings[name])
        patience = time.monotonic() + _PATIENCE
        while any(child.poll() is None for child in self._children.values()) and time.monotonic() < patience:
            time.sleep(0.005)
        for child in self._children.values():
            child.kill()
            child.wait()
        while orphans := _children_of(os.getpid()):
            _kill(orphans)
        _remove(self.home)


def death_signal(number: int) -> Callable[[], None]:
    """Return a `preexec_fn` that has Linux send *number* to the child when the thread that starts it ends."""
    if sys.platform != "linux":
        return lambda: None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the child was armed
            os._exit(1)

    return arm


def _adopt_orphans() -> None:
    """Have Linux make us the parent of what our servers leave behind, so that we can end it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # no /proc here: they notice by themselves that their parent is gone
        return []


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _remove(directory: Path) -> None:
    patience = time.monotonic() + _PATIENCE
    while directory.exists() and time.monotonic() < patience:
        shutil.rmtree(directory, ignore_errors=True)


def _lock(home: Path) -> int:
    """Hold the lock of *home* until this process ends; it appears locked, so nobody sees it free."""
    new = home / f"{_LOCK}.new"
    lock = os.open(new, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    new.rename(home / _LOCK)
    return lock


def _sweep(base: Path, *, uid: int) -> None:
    """Remove the directories whose keeper was killed: their lock is free."""
    for home in base.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if home.lstat().st_uid != uid:
                continue
            lock = os.open(home / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(home, ignore_errors=True)
            finally:
                os.close(lock)


def _listen(keeper: Keeper, owner: int) -> None:
    """Serve the owner until it says so, closes the pipe, or is gone though a fork of it holds the pipe."""
    unread = b""
    while os.getppid() == owner:
        if not select.select([0], [], [], 0.5)[0]:
            continue
        read = os.read(0, 65536)
        if not read:
            return
        *lines, unread = (unread + read).split(b"\n")
        for line in lines:
            if line == b"end":
                return
            os.write(1, keeper.answer(line))


def main() -> None:
    """Keep servers for the process *owner* below *base*."""
    base, owner, uid, gid = Path(sys.argv[1]), *map(int, sys.argv[2:])
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # a handler, because children inherit an ignored signal
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    _adopt_orphans()
    keeper = Keeper(base, uid=uid, gid=gid)
    try:
        with suppress(BrokenPipeError):
            os.write(1, os.fsencode(keeper.home) + b"\n")
            _sweep(base, uid=uid)
            _listen(keeper, owner)
    finally:
        signal.signal(signal.SIGTERM, lambda *_: None)
        keeper.end()


if __name__ == "__main__":
    main()
