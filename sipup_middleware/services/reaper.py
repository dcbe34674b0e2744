"""End the servers whose owner is gone, however it went.

A process of its own that reads lines from the owner's pipe: ``pid <group>``, ``done <group>``,
``directory <path>``. The pipe ends with its owner, even at ``kill -9``; what was announced by then is stopped
and removed. Run by path, so that it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ("Reaper", "main")

_PATIENCE = 5.0
"""Seconds between asking a server to stop and killing it."""


class Reaper:
    """What the owner announced."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.directories: list[str] = []

    def hear(self, line: str) -> None:
        """Note one announcement."""
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "pid":
            self.groups.append(int(rest))
        elif word == "done" and int(rest) in self.groups:
            self.groups.remove(int(rest))
        elif word == "directory":
            self.directories.append(rest)

    def reap(self) -> None:
        """Stop every server, gently first, and remove every directory."""
        for group in self.groups:
            _signal(group, signal.SIGINT)  # PostgreSQL's fast shutdown; Valkey ends too
        patience = time.monotonic() + _PATIENCE
        while any(map(_lives, self.groups)) and time.monotonic() < patience:
            time.sleep(0.02)
        for group in self.groups:
            _signal(group, signal.SIGKILL)
        for directory in self.directories:
            shutil.rmtree(directory, ignore_errors=True)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
        status = Path(f"/proc/{group}/stat").read_text()
    except (ProcessLookupError, PermissionError):
        return False
    except OSError:  # no /proc here
        return True
    return ") Z " not in status  # ended, and init has not collected it yet


def main() -> None:
    """Listen until the owner is gone, then clean up behind it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    reaper = Reaper()
    for line in sys.stdin:
        reaper.hear(line)
    reaper.reap()


if __name__ == "__main__":
    main()
