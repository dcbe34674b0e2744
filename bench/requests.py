"""One ASGI request after the other, with no server and no sockets between us and the app."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count, cycle, repeat

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ("Reply", "Requests", "hello", "one_path", "other_paths")

_HEADERS = [
    (b"host", b"shop.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-GB,en;q=0.7,fr;q=0.3"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
]
_REQUEST: Message = {"type": "http.request", "body": b"", "more_body": False}


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once: whatever is measured beyond this is the middleware's."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


@dataclass(slots=True)
class Reply:
    """What came back of one request."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    async def send(self, message: Message) -> None:
        """Take one message of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        else:
            self.body += message.get("body", b"")


class Requests:
    """A case: each call sends one GET to *app*, from the next of *clients*, for the next of *paths*."""

    def __init__(  # noqa: PLR0913 (all that a case is)
        self,
        app: ASGIApp,
        *,
        paths: Iterable[str],
        clients: int,
        headers: Iterable[tuple[bytes, bytes]] = (),
        status: int = 200,
        shows: tuple[bytes, bytes] | None = None,
    ) -> None:
        self._app = app
        self._paths = iter(paths)
        self._clients = clients
        self._client = cycle([(f"10.0.{n >> 8}.{n & 255}", 40000) for n in range(clients)])
        self._headers = [*_HEADERS, *headers]
        self._status = status
        self._shows = shows

    async def __call__(self) -> None:
        """Send one request and discard the reply."""
        await self._app(_scope(next(self._paths), self._headers, next(self._client)), _receive, _discard)

    async def meet(self) -> None:
        """Let each client ask once; then see that the answer has this *status* and *shows* this header."""
        for _ in range(self._clients):
            await self()
        reply = Reply()
        await self._app(_scope(next(self._paths), self._headers, next(self._client)), _receive, reply.send)
        assert reply.status == self._status, f"answered {reply.status}"
        if self._shows is not None:
            name, value = self._shows
            assert value in reply.headers.get(name, b""), f"no {value!r} in {name!r}"


def one_path(path: str) -> Iterable[str]:
    """Ask for *path* again and again."""
    return repeat(path)


def other_paths(prefix: str) -> Iterable[str]:
    """Ask for another path below *prefix* each time."""
    return (f"{prefix}/{number}" for number in count())


def _scope(path: str, headers: list[tuple[bytes, bytes]], client: tuple[str, int]) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers.copy(),
        "client": client,
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def _receive() -> Message:
    return _REQUEST


async def _discard(_: Message) -> None:
    pass
