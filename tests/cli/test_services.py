"""``sipup services run`` as a user runs it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytestmark = pytest.mark.live
SIPUP = [sys.executable, "-m", "sipup_middleware.cli"]
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("SIPUP_")}


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SIPUP, *words], env=ENVIRON | environ, capture_output=True, text=True, check=False, timeout=60
    )


def start(*words: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SIPUP, *words],
        env=ENVIRON | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    )


def eventually(holds: Callable[[], bool], *, within: float = 15.0) -> bool:
    deadline = time.monotonic() + within
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def test_the_command_finds_both_servers_and_has_stdout_to_itself() -> None:
    done = run("services", "run", "--", "sh", "-c", "echo $SIPUP_DATABASE_URL $SIPUP_REDIS_URL")

    database, store = done.stdout.split()
    assert database.startswith("postgresql://postgres@/postgres?host=")
    assert store.startswith("unix://")
    assert database in done.stderr
    assert not Path(database.split("host=")[1].split("&")[0]).exists()


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)])
def test_it_exits_as_the_command_does(script: str, code: int) -> None:
    assert run("services", "run", "--no-postgres", "--", "sh", "-c", script).returncode == code


def test_an_unknown_command_is_127_and_named() -> None:
    done = run("services", "run", "--no-postgres", "--", "no-such-command")

    assert done.returncode == 127
    assert "no-such-command: No such file or directory" in done.stderr


def test_servers_already_named_are_used_and_never_printed() -> None:
    done = run(
        "services",
        "run",
        "--no-valkey",
        "--",
        "sh",
        "-c",
        "echo $SIPUP_DATABASE_URL",
        SIPUP_DATABASE_URL="postgresql://app:s3cret@db/app",
    )

    assert done.stdout == "postgresql://app:s3cret@db/app\n"
    assert "s3cret" not in done.stderr


def test_term_reaches_the_command_which_may_finish() -> None:
    script = "trap 'echo finished; exit 5' TERM; echo started; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        [*SIPUP, "services", "run", "--no-postgres", "--", "sh", "-c", script],
        env=ENVIRON,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "started\n"

    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)

    assert (rest, process.returncode) == ("finished\n", 5)


def test_without_a_command_it_says_what_is_missing() -> None:
    done = run("services", "run")

    assert done.returncode == 2
    assert "Missing argument 'COMMAND...'" in done.stderr


def test_a_file_that_is_no_program_is_126(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch(mode=0o644)
    empty = tmp_path / "empty"
    empty.write_bytes(b"\0")
    empty.chmod(0o755)

    for word in (plain, empty):
        done = run("services", "run", "--no-postgres", "--", str(word))

        assert done.returncode == 126
        assert str(word) in done.stderr


def test_the_options_of_the_command_are_its_own() -> None:
    done = run("services", "run", "--no-postgres", "sh", "-c", "echo $0 $1", "--no-valkey", "--help")

    assert done.stdout == "--no-valkey --help\n"


def test_a_misspelt_option_is_an_error_and_not_the_command() -> None:
    assert run("services", "run", "--no-postgress", "--", "true").returncode == 2


COUNTING = """
import signal, time
heard = []
signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
print("started", flush=True)
while not heard: time.sleep(0.01)
time.sleep(0.5)
print(len(heard), flush=True)
"""


@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_an_interrupt_reaches_the_command_once(send: Callable[[int, int], None]) -> None:
    process = start("services", "run", "--no-postgres", "--", sys.executable, "-c", COUNTING)
    assert process.stdout
    assert process.stdout.readline() == "started\n"

    send(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=30)

    assert (rest, process.returncode) == ("1\n", 0)


def test_an_interrupt_while_the_servers_start_is_130_and_leaves_nothing() -> None:
    base = Path(tempfile.mkdtemp(prefix="nest-"))
    base.chmod(0o755)
    process = start("services", "run", "--", "sleep", "30", TMPDIR=str(base))
    assert eventually(lambda: any(base.glob("*/initdb.log")))

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode == 130
    base.rmdir()


@pytest.mark.skipif(sys.platform != "linux", reason="death signals")
def test_a_killed_run_ends_the_command_too() -> None:
    script = "trap 'echo ended; exit' TERM; echo $$ $SIPUP_REDIS_URL; while :; do sleep 0.05; done"
    process = start("services", "run", "--no-postgres", "--", "sh", "-c", script)
    assert process.stdout
    _, url = process.stdout.readline().split()
    directory = Path(url.removeprefix("unix://").split("?")[0]).parent

    process.kill()
    rest, _ = process.communicate(timeout=30)

    assert rest == "ended\n"
    assert eventually(lambda: not directory.exists())


InTerminal = Callable[..., tuple[subprocess.Popen[bytes], int]]


@pytest.fixture
def in_terminal() -> Iterator[InTerminal]:
    """Start a command in a terminal of its own, as its foreground job."""
    with ExitStack() as stack:

        def start(*words: str) -> tuple[subprocess.Popen[bytes], int]:
            ours, theirs = os.openpty()
            process = subprocess.Popen(
                [*SIPUP, *words],
                env=ENVIRON,
                stdin=theirs,
                stdout=theirs,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (one system call)
            )
            os.close(theirs)
            stack.callback(os.close, ours)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process, ours

        yield start


def until(terminal: int, word: bytes) -> bytes:
    read = b""
    while word not in read:
        read += os.read(terminal, 1024)
    return read


def test_a_terminal_is_the_commands_to_read_and_to_interrupt(in_terminal: InTerminal) -> None:
    code = f"print('hello', input())\n{COUNTING}"
    process, terminal = in_terminal("services", "run", "--no-postgres", "--", sys.executable, "-c", code)

    os.write(terminal, b"you\n")
    assert b"hello you" in until(terminal, b"started")
    os.write(terminal, b"\x03")

    assert until(terminal, b"1\r\n")
    assert process.wait(timeout=30) == 0


def test_a_suspended_command_suspends_us_and_goes_on_with_us(in_terminal: InTerminal) -> None:
    script = "echo started; read line; exit 4"
    process, terminal = in_terminal("services", "run", "--no-postgres", "--", "sh", "-c", script)
    until(terminal, b"started")

    os.write(terminal, b"\x1a")
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    os.write(terminal, b"go on\n")

    assert process.wait(timeout=30) == 4
