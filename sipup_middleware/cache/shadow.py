"""Whether a stored answer is what the app answers now: what the shadow mode and the samples of hits ask.

Some fields differ from one answer to the next by nature, and are left out:

* those that are never stored (`storable_fields`): of the connection, Age, Retry-After, RateLimit;
* of the time and the server: Date, Expires, Server, Via, Server-Timing, X-Process-Time, X-Response-Time,
  X-Runtime;
* of the request: X-Request-ID, X-Correlation-ID, X-Trace-ID, Traceparent, Tracestate, Set-Cookie;
* of caches: Cache-Status, X-Cache; and Content-Length, which tells no more than the body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import random as any_number

from sipup_middleware.cache.answer import Answer, Kinds, storable_fields
from sipup_middleware.cache.stored import StoredResponse

__all__ = ("Sample", "compare")

_BY_NATURE = frozenset(
    {
        b"cache-status",
        b"content-length",
        b"date",
        b"expires",
        b"server",
        b"server-timing",
        b"set-cookie",
        b"traceparent",
        b"tracestate",
        b"via",
        b"x-cache",
        b"x-correlation-id",
        b"x-process-time",
        b"x-request-id",
        b"x-response-time",
        b"x-runtime",
        b"x-trace-id",
    }
)


class Sample:
    """Picks a *share* of hits, from 0 (none) to 1 (all), to be compared."""

    __slots__ = ("_random", "_share")

    def __init__(self, share: float, *, random: Callable[[], float] = any_number) -> None:
        self._share = share
        self._random = random

    def __call__(self) -> bool:
        """Say whether this hit is one of them."""
        return self._random() < self._share


def compare(
    stored: StoredResponse,
    status: int,
    fields: Iterable[tuple[bytes, bytes]],
    body: bytes,
    *,
    kinds: Kinds | None = None,
) -> str | None:
    """Return what differs now: ``status``, ``body`` or ``header:content-type``; None = nothing.

    Of several the first counts. A name is told, never a value. *kinds* tells of a targeted field.
    """
    if status != stored.status:
        return "status"
    if body != stored.body:
        return "body"
    before, now = _lines(stored.status, stored.fields, kinds), _lines(status, fields, kinds)
    if before == now:
        return None
    name = min(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return f"header:{name.decode('latin-1')}"


def _lines(
    status: int, fields: Iterable[tuple[bytes, bytes]], kinds: Kinds | None
) -> dict[bytes, list[bytes]]:
    """Return the values by name: the order of names means nothing, that of one name's lines does."""
    lines: dict[bytes, list[bytes]] = {}
    for name, value in storable_fields(Answer(status, fields, kinds)):
        if (lower := name.lower()) not in _BY_NATURE:
            lines.setdefault(lower, []).append(value)
    return lines
