"""Small ASGI pieces that more than one layer needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

import orjson
from starlette.types import Message, Scope, Send

__all__ = ("Headers", "Problem", "header", "route_path", "with_headers")

Headers = list[tuple[bytes, bytes]]

_ID_LENGTH = 32
"""Of a request's id: hex digits."""

_PAGE = """\
<!doctype html>
<meta charset="utf-8">
<title>{status} {title}</title>
<h1>{title}</h1>
<p>{detail}</p>
<small>Request """


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


class _Form(NamedTuple):
    """A problem in one media type: what stands before and after the request's id, and the fields."""

    opening: bytes
    closing: bytes
    fields: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An RFC 9457 problem document, built once and sent often; to a browser as a page.

    Only ``instance`` (the request's id) differs from one response to the next.
    """

    status: int
    title: str
    type: str = "about:blank"
    detail: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    _forms: dict[str, _Form] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        document = {"type": self.type, "title": self.title, "status": self.status}
        if self.detail:
            document["detail"] = self.detail
        lines = [f"{self.status} {self.title}", *([self.detail] if self.detail else []), "Request "]
        page = _PAGE.format(status=self.status, title=escape(self.title), detail=escape(self.detail))
        forms = {
            "json": self._form(
                "application/problem+json", orjson.dumps(document)[:-1] + b',"instance":"', b'"}'
            ),
            "text": self._form("text/plain; charset=utf-8", "\n".join(lines).encode(), b"\n"),
            "html": self._form("text/html; charset=utf-8", page.encode(), b"</small>\n"),
        }
        object.__setattr__(self, "_forms", forms)

    def _form(self, media_type: str, opening: bytes, closing: bytes) -> _Form:
        length = b"%d" % (len(opening) + _ID_LENGTH + len(closing))
        fields = [
            (b"content-type", media_type.encode()),
            (b"content-length", length),
            (b"cache-control", b"no-store"),
            *self.headers,
        ]
        return _Form(opening, closing, fields)

    async def send(
        self, scope: Scope, send: Send, *, instance: str, extra: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer with the document; *instance* is a request's id, *extra* are headers of this answer."""
        start, body = self.messages(scope, instance=instance, extra=extra)
        await send(start)
        await send(body)

    def messages(
        self, scope: Scope, *, instance: str, extra: Iterable[tuple[bytes, bytes]] = ()
    ) -> tuple[Message, Message]:
        """Return the two messages of the answer."""
        assert len(instance) == _ID_LENGTH  # noqa: S101 (`Context.request_id`)
        opening, closing, fields = self._forms[_wanted(header(scope, b"accept"))]
        body = b"" if scope.get("method") == "HEAD" else opening + instance.encode() + closing
        return (
            {"type": "http.response.start", "status": self.status, "headers": [*fields, *extra]},
            {"type": "http.response.body", "body": body},
        )


def _wanted(accept: bytes | None) -> str:
    """Return the form that *accept* asks for; whoever takes JSON, or says nothing, gets that."""
    if not accept or b"json" in accept or b"text/" not in accept:
        return "json"
    return "html" if b"text/html" in accept else "text"
