"""Apps as attackers like them: they believe what they are told, and let it be stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from tests.asgi import Exchange, http_scope
from tests.cache.apps import FRESH, Scripted

Lines = Sequence[tuple[str, str]]


@dataclass
class Believing:
    """Answers with what `says` reads in the request; ``calls`` counts."""

    says: Callable[[Scope], bytes]
    headers: Lines = (FRESH,)
    status: Callable[[Scope], int] = lambda _: 200
    calls: int = 0
    seen: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        self.calls += 1
        said = self.says(scope)
        self.seen.append(said)
        await Scripted(self.headers, self.status(scope), [said]).respond(send)


def told(name: str) -> Callable[[Scope], bytes]:
    """Read the header *name*; "nothing" where it is absent."""

    def read(scope: Scope) -> bytes:
        return next((bytes(value) for each, value in scope["headers"] if each == name.encode()), b"nothing")

    return read


def where(scope: Scope) -> bytes:
    """Read what is asked for."""
    return b"%b?%b" % (scope["path"].encode(), scope["query_string"])


async def ask(app: ASGIApp, *hosts: bytes, **scope: object) -> Exchange:
    """Send a GET with these Host lines."""
    exchange = Exchange([{"type": "http.request", "body": b"", "more_body": False}])
    headers = [(b"host", host) for host in hosts]
    await app(http_scope() | {"headers": headers, **scope}, exchange.receive, exchange.send)
    return exchange
