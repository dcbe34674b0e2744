"""``sipup services run`` as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.live
SIPUP = [sys.executable, "-m", "sipup_middleware.cli"]
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("SIPUP_")}


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SIPUP, *words], env=ENVIRON | environ, capture_output=True, text=True, check=False, timeout=60
    )


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
