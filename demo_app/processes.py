"""The processes beside the server: the mailbox, and the worker that runs the jobs."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

__all__ = ("OWNER", "run_mailbox", "run_worker")

OWNER = "DEMO_OWNER"
"""The variable that tells the worker whom to end with."""

_ROOT = Path(__file__).parents[1]
_PATIENCE = 10.0
"""Seconds that a process has to end when it is told to."""


@contextmanager
def run_mailbox(shop: str) -> Iterator[str]:
    """Keep a mailbox running and yield its page's URL; the environment tells everyone else where it is."""
    with ExitStack() as listeners:
        web, mail = (listeners.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        url, smtp = (f"127.0.0.1:{each.getsockname()[1]}" for each in (web, mail))
        said = {
            "SIPUP_SMTP_URL": f"smtp://{smtp}",
            "SIPUP_SMTP_SENDER": "marketplace@sipup.example",
            "SIPUP_WEBHOOK_SECRET": f"whsec_{b64encode(secrets.token_bytes(24)).decode()}",
            "DEMO_WEBHOOK_URL": f"http://{url}",
        }
        os.environ.update({**said, **os.environ, "DEMO_URL": shop})
        numbers = [str(each.fileno()) for each in (web, mail)]
        options = ["--http-fd", numbers[0], "--smtp-fd", numbers[1], "--owner", str(os.getpid())]
        with _running("demo_app.mailbox", *options, keep=(web.fileno(), mail.fileno())):
            listeners.close()  # they are the mailbox's now
            yield f"http://{url}/"


@contextmanager
def run_worker() -> Iterator[None]:
    """Keep ``saq demo_app.worker`` running."""
    os.environ[OWNER] = str(os.getpid())
    with _running("saq", "demo_app.worker"):
        yield


@contextmanager
def _running(module: str, *options: str, keep: Sequence[int] = ()) -> Iterator[None]:
    process = subprocess.Popen(  # noqa: S603 (our own interpreter and modules)
        [sys.executable, "-m", module, *options],
        cwd=_ROOT,
        pass_fds=keep,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is the server's, which ends the others in order
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
