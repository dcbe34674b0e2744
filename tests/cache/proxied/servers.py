"""Real servers in a thread of this process, so that the clock can be injected: on asyncio and on trio."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, cast

import trio
import uvicorn
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.types import ASGIApp

__all__ = ("SERVERS",)


@contextmanager
def uvicorn_serving(app: ASGIApp) -> Iterator[int]:
    """Run uvicorn until left; give its port."""
    config = uvicorn.Config(
        app, log_level="critical", date_header=False, server_header=False, proxy_headers=False
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def hypercorn_serving(app: ASGIApp) -> Iterator[int]:
    """Run Hypercorn on trio until left; give its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    stop = Event()
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.include_date_header = config.include_server_header = False
    config.errorlog = None

    async def stopped() -> None:
        await trio.to_thread.run_sync(stop.wait)

    async def run() -> None:
        await serve(cast("Any", app), config, shutdown_trigger=stopped)  # its scopes are types of its own

    thread = Thread(target=trio.run, args=(run,))
    thread.start()
    try:
        yield port
    finally:
        stop.set()
        thread.join()


SERVERS = {"uvicorn": uvicorn_serving, "hypercorn-trio": hypercorn_serving}
