"""uvicorn around the marketplace: in this process, or in workers that end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from copy import deepcopy
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.config import LOGGING_CONFIG
from uvicorn.supervisors import Multiprocess

from demo_app.app import create_app

__all__ = ("BACKLOG", "BARE", "bind", "create_worker_app", "serve")

BACKLOG = 4096
BARE = "DEMO_BARE"
"""The variable that leaves the stack out."""

_KEEP_ALIVE = 120
"""Seconds that an idle client stays connected: 20,000 that reconnect would be the load."""

_GRACE = 5
"""Seconds that requests in flight get when the server is told to stop."""


def bind(host: str, port: int) -> socket.socket:
    """Take the address before the rest starts, so that nobody else does. Raises `OSError`."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def serve(listener: socket.socket, *, workers: int, log_level: str, access_log: bool) -> bool:
    """Serve until SIGINT or SIGTERM; False = the app could not be started."""
    config = uvicorn.Config(
        "demo_app.serve:create_worker_app",
        factory=True,
        workers=workers,
        log_config=_logging(log_level),
        access_log=access_log,
        backlog=BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
        proxy_headers=False,  # whom to believe is the stack's to say: ClientIP
    )
    listener.set_inheritable(True)
    if workers > 1:
        supervisor = _Supervisor(config, sockets=[listener])
        supervisor.run()
        return not supervisor.failed
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    return server.started


def create_worker_app() -> Starlette:
    """Build the app in the process that serves it; a worker ends when its supervisor has."""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        threading.Thread(target=_follow, args=(supervisor,), name="follow-supervisor", daemon=True).start()
    return create_app(bare=BARE in os.environ)


def _follow(supervisor: Any) -> None:  # noqa: ANN401 (multiprocessing keeps its class to itself)
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * _GRACE)
    os._exit(1)  # a graceful end takes less


class _Supervisor(Multiprocess):
    """Ends when its terminal does: a hangup would else restart the workers, for nobody."""

    failed = False

    def handle_hup(self) -> None:
        self.should_exit.set()

    def keep_subprocess_alive(self) -> None:
        told_to_stop = self.should_exit.is_set()
        super().keep_subprocess_alive()
        self.failed = self.should_exit.is_set() and not told_to_stop


def _logging(level: str) -> dict[str, Any]:
    """Return uvicorn's logging, with what the layers report beside it."""
    config: dict[str, Any] = deepcopy(LOGGING_CONFIG)
    loggers = config["loggers"]
    for name in ("uvicorn", "uvicorn.error"):
        loggers[name]["level"] = level.upper()
    loggers["sipup_middleware"] = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    return config
