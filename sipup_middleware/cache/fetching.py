"""Call the app for one request: for the whole, for a confirmation, or for what is passed on as it is."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope

from sipup_middleware.cache.asking import Ask, Parts
from sipup_middleware.cache.capture import Capture
from sipup_middleware.cache.heads import HeadWatch
from sipup_middleware.cache.passing import marked
from sipup_middleware.cache.request import NO_STORE, RANGE
from sipup_middleware.cache.response import ResponseControl
from sipup_middleware.cache.stored import StoredResponse
from sipup_middleware.cache.validation import Validation, plain_scope, validating_scope
from sipup_middleware.telemetry.routes import template

__all__ = ("Fetcher",)

_SENDS_FILES = ("http.response.pathsend", "http.response.zerocopysend")


class Fetcher:
    """Gets an answer from the app, and into the store where it may lie there."""

    __slots__ = ("_app", "_parts")

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, ask: Ask) -> None:
        """Let the app answer *ask*."""
        if ask.request.flags & (NO_STORE if ask.stale is not None else RANGE):
            return await self._pass(ask)
        if ask.scope["method"] == "HEAD":
            return await self._ask_for_head(ask)
        if self._begin(ask) is not None:
            return await self._validate(ask)
        self._parts.misses.add()
        return await self._call(ask.scope, Capture(ask, ask.scope))

    async def refresh(self, ask: Ask) -> None:
        """Let the app make anew what the client was answered with, unless another process has."""
        await ask.look_again()
        if ask.use == "send":
            return ask.land("stored")
        if self._begin(ask) is not None:
            return await self._validate(ask)
        scope = plain_scope(ask.scope)
        return await self._call(scope, Capture(ask, scope))

    def _begin(self, ask: Ask) -> StoredResponse | None:
        """Collect tags from before the app reads anything; look again: what was purged is not asked about."""
        context = ask.context
        context.tags = tags = context.store.collect(*(ask.matches[0].tags if ask.matches else ()))
        context.response = ResponseControl(tags)
        if ask.stale is not None:
            found = self._parts.shelf.peek(context.store, ask.request.key, ask.scope["headers"])
            ask.stale = found if type(found) is StoredResponse else None
        return ask.stale

    async def _validate(self, ask: Ask) -> None:
        """Ask whether what is stored holds; once more without a condition if the answer is about another."""
        stored = ask.stale
        assert stored is not None  # noqa: S101 (begun with it)
        context = ask.context
        answered_for = context.answered_for
        conditional = stored.etag is not None or stored.modified is not None
        scope = validating_scope(ask.scope, stored) if conditional else plain_scope(ask.scope)
        validation = Validation(ask, scope, stored, conditional=conditional)
        await self._call_copy(scope, validation)
        if validation.denied:
            context.answered_for, context.failure = answered_for, None
            ask.receive = _without_body(ask.receive)
            self._begin(ask)
            scope = plain_scope(ask.scope)
            await self._call_copy(scope, Validation(ask, scope, stored, conditional=False))

    async def _call_copy(self, scope: Scope, validation: Validation) -> None:
        """Call with a copy of the request's scope; the route that the host writes into it is not lost."""
        root = scope.get("root_path", "")
        try:
            await self._call(scope, validation)
        finally:
            if not validation.muted:
                scope["sipup"].route = template(scope, root)

    async def _call(self, scope: Scope, capture: Capture) -> None:
        _withhold_file_sending(scope)
        try:
            await self._app(scope, capture.receive, capture.send)
            capture.abandon()  # in case it did not send the whole
        except Exception as error:
            if not await capture.fail(error):
                capture.abandon()
                raise
        finally:
            capture.drop()

    async def _ask_for_head(self, ask: Ask) -> None:
        """Ask for a head alone, which nothing can be stored of, but what is stored may be renewed by."""
        stale = self._begin(ask)
        if stale is None:
            self._parts.misses.add()
            return await self._pass(ask)
        watch = HeadWatch(ask, ask.scope, stale, conditional=False)
        try:
            await self._app(ask.scope, watch.receive, watch.send)
        except Exception as error:
            if not await watch.fail(error):
                raise
        return None

    async def _pass(self, ask: Ask) -> None:
        """Store nothing of the answer."""
        ask.context.tags, ask.context.response = None, ResponseControl(None)
        told = self._parts.status.forwarded(ask.why)
        await self._app(ask.scope, ask.receive, marked(ask.send, told, self._parts.kinds.target))


def _without_body(receive: Receive) -> Receive:
    """Return what begins the request anew: its body, which was empty, has been received once."""
    begun = False

    async def receive_anew() -> Message:
        nonlocal begun
        if not begun:
            begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await receive())["type"] == "http.request":
            pass
        return message

    return receive_anew


def _withhold_file_sending(scope: Scope) -> None:
    """Withhold the extensions by which an app has the server send a file: we would not see its body.

    The dict of extensions is the server's, and stays as it is; *scope* is a copy.
    """
    extensions = scope["extensions"]
    if extensions and any(name in extensions for name in _SENDS_FILES):
        scope["extensions"] = {name: extensions[name] for name in extensions if name not in _SENDS_FILES}
