"""One request by a raw socket; every header line of the response is kept."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse

__all__ = ("Got", "fetch")

_DEADLINE = 20.0


@dataclass(frozen=True)
class Got:
    """A response; status 0 = there was none."""

    status: int = 0
    lines: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    whole: bool = False

    def field(self, name: str) -> str | None:
        """Return the values of all lines of a field."""
        values = [value for each, value in self.lines if each.lower() == name]
        return ", ".join(values) if values else None


def fetch(port: int, method: str, target: str, lines: tuple[str, ...] = (), body: bytes = b"") -> Got:
    """Send one request on a connection of its own."""
    given = {line.partition(":")[0].lower() for line in lines}
    lines += ("Connection: close",)
    lines += () if "host" in given else ("Host: cache.example",)
    lines += (f"Content-Length: {len(body)}",) if body else ()
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")
    with socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE) as connection:
        connection.sendall(head + body)
        with HTTPResponse(connection, method=method) as response:
            return _read(response)


def _read(response: HTTPResponse) -> Got:
    try:
        response.begin()
    except (HTTPException, ConnectionError):
        return Got()
    lines = tuple(response.headers.items())
    try:
        return Got(response.status, lines, response.read(), whole=True)
    except (HTTPException, ConnectionError):
        return Got(response.status, lines)
