"""Send a stored answer."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Message, Scope, Send

from sipup_middleware.cache.request import CONDITIONAL, Request
from sipup_middleware.cache.status import CacheStatus
from sipup_middleware.cache.stored import StoredResponse
from sipup_middleware.cache.validators import not_modified
from sipup_middleware.telemetry import Counter

__all__ = ("Replay",)

_EMPTY: Message = {"type": "http.response.body", "body": b""}


class Replay:
    """Two messages, of which nothing but the age and the Cache-Status is made for this request."""

    __slots__ = ("_clock", "_hits", "_status")

    def __init__(self, *, status: CacheStatus, hits: Counter, clock: Callable[[], float]) -> None:
        self._status = status
        self._hits = hits
        self._clock = clock

    async def __call__(
        self, stored: StoredResponse, request: Request, scope: Scope, send: Send, *, collapsed_by: str = ""
    ) -> None:
        """Answer with *stored*; *collapsed_by* is why the request was forwarded that this one waited for."""
        self._hits.add()
        if "sipup" in scope:
            scope["sipup"].route = stored.route
        age = self._clock() - stored.born
        if age < 0:  # the clock went back
            age = 0.0
        extra = self._status.hit(age, stored.lifetime - age)
        if collapsed_by:
            extra = (extra[0], *self._status.forwarded(collapsed_by, "collapsed"))
        if request.flags & CONDITIONAL and self._has_it(stored, scope):
            await send(stored.start_not_modified(extra))
            return await send({**_EMPTY})
        await send(stored.start(extra))
        if scope["method"] == "HEAD":
            return await send({**_EMPTY})
        return await send({"type": "http.response.body", "body": stored.body})

    def _has_it(self, stored: StoredResponse, scope: Scope) -> bool:
        """Preconditions count only where the answer would be a success (RFC 9110, section 13.2.1)."""
        succeeded = 200 <= stored.status < 300  # noqa: PLR2004 (2xx)
        return succeeded and not_modified(scope["headers"], stored.etag, stored.modified)
