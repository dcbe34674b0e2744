"""What the layers around one request know of each other: one slotted object, made by the outermost.

It stands in ``scope["sipup"]`` and in ``scope["state"]["sipup"]`` (Starlette's ``request.state.sipup``), and
in one ContextVar, for code that has no request at hand. Each attribute is set only by a layer that is there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware.asgi import header
from sipup_middleware.errors import ConfigurationError

if TYPE_CHECKING:
    from sipup_middleware.cache.response import ResponseControl
    from sipup_middleware.database.facade import Facade
    from sipup_middleware.jobs.handle import OpenJobs
    from sipup_middleware.ratelimit.limits import RequestLimits
    from sipup_middleware.store.handle import OpenStore
    from sipup_middleware.store.tags import TagSet

__all__ = ("Context", "begin", "current", "end", "enter", "request_id")

_CURRENT: ContextVar[Context] = ContextVar("sipup")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_MADE_BY = {
    "db": "Database",
    "jobs": "Jobs",
    "limits": "RateLimit",
    "response": "ResponseCache",
    "store": "ResponseCache",
}


class Context:
    """One request as the layers see it."""

    __slots__ = (
        "_request_id",
        "answered_for",
        "before_answer",
        "db",
        "failure",
        "jobs",
        "limits",
        "response",
        "route",
        "scope",
        "started",
        "store",
        "tags",
    )

    db: Facade
    """Set by `Database`: statements, transactions."""

    jobs: OpenJobs
    """Set by `Jobs`: enqueueing."""

    limits: RequestLimits
    """Set by `RateLimit`: the decision on this request."""

    response: ResponseControl
    """Set by `ResponseCache`: how this response may be stored."""

    route: str | None
    """The template of the route that made a stored answer, set when it is sent; else the scope knows."""

    store: OpenStore
    """Set by `ResponseCache`: the open store."""

    tags: TagSet | None
    """What this response was made from; None where nobody collects."""

    failure: Exception | None
    """The outage that a facade raised in this request, or what kept its answer back; see `outage.py`."""

    before_answer: Callable[[int], Awaitable[None]] | None
    """Awaited with the status before the answer starts; where it raises, that answer is not sent."""

    started: bool
    """Whether the answer has started."""

    answered_for: bool
    """Whether a layer stands ready to answer for such an outage: one is enough."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.tags = None
        self.failure = None
        self.before_answer = None
        self.started = False
        self.answered_for = False
        self.route = None
        self._request_id: str | None = None

    if not TYPE_CHECKING:  # a type checker knows the attributes; this would hide a misspelt one from it

        def __getattr__(self, name):  # noqa: ANN001, ANN204 (always raises)
            """Explain an attribute that no layer has set."""
            if layer := _MADE_BY.get(name):
                raise AttributeError(f"no {layer} layer wraps this app, so its requests have no {name!r}")
            raise AttributeError(name)

    @property
    def request_id(self) -> str:
        """The trace id of a valid ``traceparent`` (W3C Trace Context), else 32 hex digits of its own."""
        if self._request_id is None:
            self._request_id = request_id(self.scope)
        return self._request_id


class _Ids:
    """Random digits of the process, and a count: a tenth of what 16 random bytes cost."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew: a fork must not count on where its parent is."""
        self._process = token_hex(8)
        self._numbers = count(1)

    def take(self) -> str:
        return f"{self._process}{next(self._numbers):016x}"


_ids = _Ids()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.renew)


def request_id(scope: Scope) -> str:
    """Return the id of a request that has no context to keep it: see `Context.request_id`."""
    given = header(scope, b"traceparent")
    if given and (read := _TRACEPARENT.fullmatch(given)) and read[1].strip(b"0"):
        return read[1].decode()
    return _ids.take()


def current() -> Context:
    """Return the context of the request being served.

    Raises `ConfigurationError` outside a request, or in an app that no layer wraps.
    """
    try:
        return _CURRENT.get()
    except LookupError:
        raise ConfigurationError("no request is being served by a layer of sipup_middleware here") from None


def begin(scope: Scope) -> tuple[Scope, Token[Context]]:
    """Return the request's only copy of *scope*, with a new context in it, and what `end` needs."""
    context = Context(scope)
    inner = {**scope, "sipup": context}
    state = scope.get("state")
    inner["state"] = {**state, "sipup": context} if state else {"sipup": context}
    if not scope.get("extensions"):
        inner["extensions"] = {}
    return inner, _CURRENT.set(context)


end = _CURRENT.reset
"""Let the request's context be the current one no more."""


async def enter(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve *app*, the outermost layer, with the request's only copy of *scope* and a new context in it."""
    inner, token = begin(scope)
    try:
        await app(inner, receive, send)
    finally:
        end(token)
