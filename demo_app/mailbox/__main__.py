"""``python -m demo_app.mailbox``: where the demo's e-mails and webhooks arrive, to be looked at.

Its parent binds the two sockets and passes their file descriptors on (``pass_fds``), so that their ports are
known, and taken, before this starts. ``SIPUP_WEBHOOK_SECRET`` is what webhooks are signed with; the page
links to ``DEMO_URL``.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import NoReturn

import click
import uvicorn
from starlette.applications import Starlette

from demo_app.following import follow
from demo_app.mailbox.arrivals import Arrivals
from demo_app.mailbox.mail import serve_mail
from demo_app.mailbox.signature import Secret
from demo_app.mailbox.web import routes
from demo_app.problems import HANDLERS

__all__ = ("main",)

_SECRET = "SIPUP_WEBHOOK_SECRET"  # noqa: S105 (the name of the variable)
_GRACE = 1
"""Seconds that a request in flight gets when the process is told to stop."""


def _listener(context: click.Context, parameter: click.Parameter, descriptor: int) -> socket.socket:  # noqa: ARG001 (click's signature)
    try:
        listener = socket.socket(fileno=descriptor)
    except OSError:
        raise click.BadParameter("must be the file descriptor of a socket") from None
    if listener.type is not socket.SOCK_STREAM:
        raise click.BadParameter("must be a stream socket")
    return listener


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--http-fd",
    "http",
    type=click.IntRange(0),
    callback=_listener,
    required=True,
    help="Socket of the web side.",
)
@click.option(
    "--smtp-fd",
    "smtp",
    type=click.IntRange(0),
    callback=_listener,
    required=True,
    help="Socket of the mail side.",
)
@click.option("--owner", type=click.IntRange(1), help="Parent process, with which this one ends.")
def main(*, http: socket.socket, smtp: socket.socket, owner: int | None) -> None:
    """Show the e-mails and the webhooks that the demo's jobs deliver."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    if owner is not None:
        follow(owner)
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # a stranger who speaks no SMTP is no news
    config = uvicorn.Config(
        _create_app(smtp),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    uvicorn.Server(config).run(sockets=[http])


def _stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 (the handler's signature)
    raise SystemExit(0)


def _create_app(smtp: socket.socket) -> Starlette:
    arrivals = Arrivals()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001 (Starlette's signature)
        server = await serve_mail(smtp, arrivals)
        try:
            yield
        finally:
            server.close()

    return Starlette(routes=routes(arrivals, _secret()), exception_handlers=HANDLERS, lifespan=lifespan)


def _secret() -> Secret:
    try:
        return Secret.read(os.environ.get(_SECRET, ""))
    except ValueError as error:
        raise click.ClickException(f"{_SECRET} {error}") from None


if __name__ == "__main__":
    main(prog_name="python -m demo_app.mailbox")
