"""``python -m demo_app``: its servers, its data, the app, and a line on what is where."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import FrameType
from typing import NoReturn

import click

from demo_app.app import build_stack
from demo_app.data import load
from demo_app.keys import DEFAULT_KEY
from demo_app.processes import run_mailbox, run_worker
from demo_app.serve import BACKLOG, BARE, bind, serve
from sipup_middleware import Settings, SipupError
from sipup_middleware.services import Services, run_services
from sipup_middleware.services.process import Nest

__all__ = ("main",)

_LEVELS = ("critical", "error", "warning", "info", "debug")
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (how the banner spells what a user asked for)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 = any free one."
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Server processes.")
@click.option(
    "--queue",
    default="postgres",
    show_default=True,
    type=click.Choice(("postgres", "valkey")),
    help="Where jobs wait; SIPUP_JOBS_URL may name another place.",
)
@click.option("--bare", is_flag=True, help="Serve the same app without the stack, to compare.")
@click.option("--log-level", default="warning", show_default=True, type=click.Choice(_LEVELS))
@click.option("--access-log", is_flag=True, help="Write a line for each request.")
def main(  # noqa: PLR0913 (the command's options)
    *, host: str, port: int, workers: int, queue: str, bare: bool, log_level: str, access_log: bool
) -> None:
    """Serve the sipup marketplace on a PostgreSQL and a Valkey of its own, gone when it ends.

    Where SIPUP_DATABASE_URL or SIPUP_REDIS_URL names a server, that one is used; DEMO_API_KEY sets the key.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    listener = _bind(host, port)
    try:
        _check(Settings.from_environ())
        click.echo(f"Starting PostgreSQL{'' if bare else ' and Valkey'} ...")
        with ExitStack() as running:
            services = running.enter_context(run_services(valkey=not bare))
            running.enter_context(_environment(services, workers, queue, bare=bare))
            _load(services)
            arrivals = running.enter_context(run_mailbox(_url(listener)))
            if not bare:
                running.enter_context(run_worker())
            listener.listen(BACKLOG)  # who follows the banner's links waits instead of being refused
            click.echo(_banner(listener, services, arrivals, log_level, bare=bare))
            started = serve(listener, workers=workers, log_level=log_level, access_log=access_log)
    except SipupError as error:
        raise click.ClickException(str(error)) from error
    if not started:
        raise click.ClickException("the server could not start")


def _stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 (the handler's signature)
    raise SystemExit(0)


def _check(settings: Settings) -> None:
    """Let a setting that does not fit speak before anything starts."""
    build_stack(replace(settings, database_url=settings.database_url or "postgresql://"))


def _bind(host: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host} port {port}: {error.strerror}") from None


@contextmanager
def _environment(services: Services, workers: int, queue: str, *, bare: bool) -> Iterator[None]:
    """Tell the server processes what they share, in a directory that goes even if this process is killed."""
    nest = Nest()
    shared = nest.path / "shared"  # once the nest is gone, a worker that comes late cannot make it again
    shared.mkdir(mode=0o700)
    jobs_url = services.redis_url if queue == "valkey" else services.database_url
    said = {
        "SIPUP_RUNTIME_DIR": str(shared),
        "SIPUP_JOBS_URL": jobs_url or "",
        "DEMO_SECRET": secrets.token_hex(),
        **os.environ,
    }
    os.environ.update(said, **services.environ, SIPUP_WORKERS=str(workers), **({BARE: "1"} if bare else {}))
    try:
        yield
    finally:
        nest.close()


def _load(services: Services) -> None:
    assert services.database_url  # noqa: S101 (run_services starts one unless it was named)
    click.echo("Loading 20,000 products and 60,000 orders ...")
    if not load(services.database_url):
        click.echo("They are there already.")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = _ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _banner(listener: socket.socket, services: Services, arrivals: str, log_level: str, *, bare: bool) -> str:
    url = _url(listener)
    ours = " and ".join(
        name for name, server in (("PostgreSQL", services.postgres), ("Valkey", services.valkey)) if server
    )
    key = "as DEMO_API_KEY has it" if os.environ.get("DEMO_API_KEY") else DEFAULT_KEY
    lines = {
        "Open": f"{url}/",
        "Try": f"curl -i {url}/products/1",
        "Health": "none: the stack is left out"
        if bare
        else f"{url}/_health   metrics: {url}/_health/metrics",
        "API key": f"{key}   (X-API-Key, to POST {url}/orders)",
        "Arrivals": f"{arrivals}   mail and webhooks{'' if bare else ', delivered by saq demo_app.worker'}",
        "Servers": f"{ours} of its own, gone when this ends" if ours else "those that SIPUP_* names",
        "Logs": f"from {log_level} up; more by --log-level info or --access-log",
        "Stop": "Ctrl-C",
    }
    return "\n".join(
        [
            "",
            "  The sipup marketplace is open.",
            "",
            *(f"  {name:<9}{text}" for name, text in lines.items()),
            "",
        ]
    )


if __name__ == "__main__":
    main(prog_name="python -m demo_app")
