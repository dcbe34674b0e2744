"""Small ASGI pieces that more than one layer needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson
from starlette.types import Message, Scope, Send

__all__ = ("Headers", "Problem", "header", "route_path", "with_headers")

Headers = list[tuple[bytes, bytes]]


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first value of the lower-case *name* in the request; None where it is absent."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def route_path(scope: Scope) -> str:
    """Return the path below ``root_path``. The server has decoded it, once; it is not decoded again."""
    path: str = scope["path"]
    root: str = (scope.get("root_path") or "").rstrip("/")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
        return path[len(root) :]
    return path


def with_headers(send: Send, extra: Iterable[tuple[bytes, bytes]]) -> Send:
    """Wrap *send* so that the response starts with *extra* headers too."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return send_with_headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An RFC 9457 problem document, built once and sent often.

    Only ``instance`` (the request's id) differs from one response to the next.
    """

    status: int
    title: str
    type: str = "about:blank"
    detail: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    _opening: bytes = field(init=False, repr=False, compare=False)
    _fields: Headers = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        document = {"type": self.type, "title": self.title, "status": self.status}
        if self.detail:
            document["detail"] = self.detail
        fields = [
            (b"content-type", b"application/problem+json"),
            (b"cache-control", b"no-store"),
            *self.headers,
        ]
        object.__setattr__(self, "_opening", orjson.dumps(document)[:-1] + b',"instance":"')
        object.__setattr__(self, "_fields", fields)

    async def send(
        self, scope: Scope, send: Send, *, instance: str, extra: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer with the document; *instance* must be safe in JSON, *extra* are headers of this answer."""
        body = b'%b%b"}' % (self._opening, instance.encode())
        length = (b"content-length", b"%d" % len(body))
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [*self._fields, length, *extra],
            }
        )
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
