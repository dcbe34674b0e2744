"""Send a stored answer: whole, a part of it, or that the client has it."""

from __future__ import annotations

from starlette.types import Scope, Send

from sipup_middleware.cache.ranges import content_range, requested_slice, unsatisfied
from sipup_middleware.cache.request import CONDITIONAL, RANGE
from sipup_middleware.cache.status import Told
from sipup_middleware.cache.stored import StoredResponse
from sipup_middleware.cache.validators import not_modified

__all__ = ("replay",)

_OK = 200
_ASKS_FOR_LESS = CONDITIONAL | RANGE
_REPRESENTATION = frozenset(
    {
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-range",
        b"content-type",
    }
)


async def replay(stored: StoredResponse, flags: int, told: Told, scope: Scope, send: Send) -> None:
    """Answer the request of *scope*, which has these *flags*, with *stored*; *told* are more header lines."""
    if "sipup" in scope:
        scope["sipup"].route = stored.route
    if flags & _ASKS_FOR_LESS and (less := _less(stored, flags, scope)) is not None:
        status, fields, body = less
    else:
        status, fields, body = stored.status, stored.fields, stored.body
    await send({"type": "http.response.start", "status": status, "headers": [*fields, *told]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _less(
    stored: StoredResponse, flags: int, scope: Scope
) -> tuple[int, list[tuple[bytes, bytes]], bytes] | None:
    """Return status, fields and body of a 304, 206 or 416; None = the whole is to be sent.

    RFC 9110, section 13.2.2: preconditions come before Range; both count only where the answer would be a
    success (sections 13.2.1 and 14.2).
    """
    if flags & CONDITIONAL and _has_it(stored, scope):
        return 304, _without(stored, _REPRESENTATION), b""
    if not flags & RANGE or stored.status != _OK or scope["method"] != "GET":
        return None
    length = len(stored.body)
    part = requested_slice(
        scope["headers"], length=length, etag=stored.etag, modified=stored.modified, date=stored.date
    )
    if part is None:
        return None
    if part == "unsatisfiable":
        return 416, [(b"content-range", unsatisfied(length)), (b"content-length", b"0")], b""
    first, beyond = part
    fields = _without(stored, {b"content-length"})
    fields.append((b"content-range", content_range(first, beyond, length)))
    fields.append((b"content-length", b"%d" % (beyond - first)))
    return 206, fields, stored.body[first:beyond]


def _has_it(stored: StoredResponse, scope: Scope) -> bool:
    succeeded = 200 <= stored.status < 300  # noqa: PLR2004 (2xx)
    return succeeded and not_modified(scope["headers"], stored.etag, stored.since())


def _without(stored: StoredResponse, names: frozenset[bytes] | set[bytes]) -> list[tuple[bytes, bytes]]:
    return [pair for pair in stored.fields if pair[0].lower() not in names]
