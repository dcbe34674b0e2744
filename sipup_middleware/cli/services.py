"""``sipup services run -- COMMAND``: a command with a throwaway PostgreSQL and Valkey beside it."""

from __future__ import annotations

import os
import shutil

import click

from sipup_middleware.cli.foreground import run_command
from sipup_middleware.errors import SipupError
from sipup_middleware.services import run_services

__all__ = ("services",)

_CANNOT_RUN = 126
_NOT_FOUND = 127
_INTERRUPTED = 130


@click.group()
def services() -> None:
    """Throwaway servers for development."""


@services.command(context_settings={"allow_interspersed_args": False})
@click.option("--postgres/--no-postgres", default=True, show_default=True, help="Start a PostgreSQL.")
@click.option("--valkey/--no-valkey", default=True, show_default=True, help="Start a Valkey.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(context: click.Context, *, postgres: bool, valkey: bool, command: tuple[str, ...]) -> None:
    """Run COMMAND with SIPUP_DATABASE_URL and SIPUP_REDIS_URL set, and exit as it does.

    Where one of these is set already, that server is used. What was started is gone afterwards.
    """
    if shutil.which(command[0]) is None:
        there = os.path.isfile(command[0])  # noqa: PTH113 (a word that the user typed, not a path of ours)
        click.echo(f"{command[0]}: {'Permission denied' if there else 'No such file or directory'}", err=True)
        context.exit(_CANNOT_RUN if there else _NOT_FOUND)
    try:
        code = _run(command, postgres=postgres, valkey=valkey)
    except SipupError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:  # before there was a command to hand it to, or after
        code = _INTERRUPTED
    context.exit(code)


def _run(command: tuple[str, ...], *, postgres: bool, valkey: bool) -> int:
    with run_services(postgres=postgres, valkey=valkey) as running:
        for name, url in running.environ.items():
            ours = running.postgres if name == "SIPUP_DATABASE_URL" else running.valkey
            click.echo(f"{name}={url if ours else '(as set)'}", err=True)
        try:
            return run_command(command, {**os.environ, **running.environ})
        except OSError as error:
            click.echo(f"{command[0]}: {error.strerror}", err=True)
            return _CANNOT_RUN
