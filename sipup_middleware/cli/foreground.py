"""Run a command as a shell runs a job: in a process group of its own, with the terminal if we have it.

So every signal reaches it once: a Ctrl-C goes from the terminal to its group alone, and what is sent to us is
handed on. (In our own group it would get a Ctrl-C from the terminal and again from us, and a second one makes
most servers drop their clients.)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from sipup_middleware.services.keeper import death_signal

__all__ = ("run_command",)

_HANDED_ON = (signal.SIGINT, signal.SIGTERM)


def run_command(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run *command* to its end and return its exit code, 128 + n if signal n ended it.

    If we are killed meanwhile, it is sent SIGTERM (on Linux). Raises `OSError` where it cannot be started.
    """
    with _terminal() as terminal, _handing_on() as begin:
        arm = death_signal(signal.SIGTERM)

        def before_exec() -> None:
            arm()
            if terminal is not None:
                _take(terminal, os.getpgrp())

        process = subprocess.Popen(  # noqa: S603 (the user's own command line)
            command,
            env=dict(environ),
            process_group=0,
            preexec_fn=before_exec,  # noqa: PLW1509 (this process has one thread)
        )
        begin(process.pid)
        return _wait(process, terminal)


def _wait(process: subprocess.Popen[bytes], terminal: int | None) -> int:
    """Wait for the end of *process*; if a Ctrl-Z stops it, stop with it."""
    while True:
        _, status = os.waitpid(process.pid, os.WUNTRACED if terminal is not None else 0)
        if terminal is not None and os.WIFSTOPPED(status):
            _take(terminal, os.getpgrp())
            os.kill(os.getpid(), signal.SIGSTOP)
            _take(terminal, process.pid)
            os.killpg(process.pid, signal.SIGCONT)
            continue
        process.returncode = code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code


@contextmanager
def _handing_on() -> Iterator[Callable[[int], None]]:
    """Hand on what is sent to us, to the process that we are told; what came earlier it gets then."""
    process = 0
    early: list[int] = []

    def hand_on(number: int, frame: FrameType | None = None) -> None:  # noqa: ARG001 (a handler's signature)
        if not process:
            early.append(number)
            return
        with suppress(ProcessLookupError):  # as a terminal would, an interrupt goes to all of its group
            os.killpg(process, number) if number == signal.SIGINT else os.kill(process, number)

    def begin(pid: int) -> None:
        nonlocal process
        process = pid
        for number in early:
            hand_on(number)

    before = {number: signal.signal(number, hand_on) for number in _HANDED_ON}
    try:
        yield begin
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _terminal() -> Iterator[int | None]:
    """Yield the terminal that we are in the foreground of, if there is one, and take it back afterwards."""
    try:
        terminal = sys.__stdin__.fileno() if sys.__stdin__ else -1
        ours = os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        ours, terminal = False, -1
    if not ours:
        yield None
        return
    try:
        yield terminal
    finally:
        _take(terminal, os.getpgrp())


def _take(terminal: int, group: int) -> None:
    """Put *group* in the foreground; from the background this would stop us, were SIGTTOU not ignored."""
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with suppress(OSError):
        os.tcsetpgrp(terminal, group)
    signal.signal(signal.SIGTTOU, before)
