"""``sipup services run -- COMMAND``: a command with a throwaway PostgreSQL and Valkey beside it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType

import click

from sipup_middleware.errors import SipupError
from sipup_middleware.services import run_services

__all__ = ("services",)

_NOT_FOUND = 127


@click.group()
def services() -> None:
    """Throwaway servers for development."""


@services.command(context_settings={"ignore_unknown_options": True})
@click.option("--postgres/--no-postgres", default=True, show_default=True, help="Start a PostgreSQL.")
@click.option("--valkey/--no-valkey", default=True, show_default=True, help="Start a Valkey.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(context: click.Context, *, postgres: bool, valkey: bool, command: tuple[str, ...]) -> None:
    """Run COMMAND with SIPUP_DATABASE_URL and SIPUP_REDIS_URL set, and exit as it does.

    Where one of these is set already, that server is used. What was started is gone afterwards.
    """
    try:
        with run_services(postgres=postgres, valkey=valkey) as running:
            for name, url in running.environ.items():
                ours = running.postgres if name == "SIPUP_DATABASE_URL" else running.valkey
                click.echo(f"{name}={url if ours else '(as set)'}", err=True)
            code = _run(command, {**os.environ, **running.environ})
    except SipupError as error:
        raise click.ClickException(str(error)) from error
    context.exit(code)


def _run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run *command*, hand SIGTERM on to it, and return its exit code as a shell would."""
    try:
        process = subprocess.Popen(command, env=dict(environ))  # noqa: S603 (the user's own command line)
    except OSError as error:
        click.echo(f"{command[0]}: {error.strerror}", err=True)
        return _NOT_FOUND

    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the handler's signature)
        with suppress(ProcessLookupError):
            process.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to the command too: it decides
    code = process.wait()
    return 128 - code if code < 0 else code
