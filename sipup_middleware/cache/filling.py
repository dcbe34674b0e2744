"""Ask the app for what is not stored: one asks, the others wait for what it is given."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import ASGIApp

from sipup_middleware.asgi import with_headers
from sipup_middleware.cache.capture import Ask, Capture, Parts, without_file_sending
from sipup_middleware.cache.landing import Landing
from sipup_middleware.cache.replay import Replay
from sipup_middleware.cache.request import AUTHORIZATION, CONDITIONAL, COOKIE, NO_STORE
from sipup_middleware.cache.response import ResponseControl
from sipup_middleware.cache.stored import StoredResponse
from sipup_middleware.cache.unstorable import Unstorable
from sipup_middleware.store.tags import url_tags
from sipup_middleware.telemetry import Counter

__all__ = ("Filler",)

_ATTEMPTS = 3
_APART = COOKIE | AUTHORIZATION | CONDITIONAL | NO_STORE
"""What is given to a request with one of these need not be what others are given, or not storable."""


@dataclass(frozen=True, slots=True)
class Filler:
    """Gets an answer from the app and into the store, on its way to the client."""

    app: ASGIApp
    parts: Parts
    replay: Replay
    unstorable: Unstorable
    misses: Counter
    lock: bool

    async def __call__(self, ask: Ask) -> None:
        """Answer a GET or HEAD that this process has no answer for."""
        request, scope = ask.request, ask.scope
        alone = not self.lock or bool(request.flags & (CONDITIONAL | NO_STORE)) or scope["method"] == "HEAD"
        place = self._place(ask) if ask.why == "vary-miss" else (request.key, request.flags & _APART)
        for _ in range(_ATTEMPTS):
            if alone or place in self.unstorable:
                break
            flight = ask.context.store.flights.join(place)
            await flight.__aenter__()
            if flight.leads:
                return await self._lead(ask, Landing(flight, self.unstorable, place))
            found = self.parts.shelf.peek(ask.context.store, request.key, scope["headers"])
            if isinstance(found, StoredResponse) and not request.flags & found.refuses:
                return await self.replay(found, request, scope, ask.send, collapsed_by="uri-miss")
            before, place = place, self._place(ask)
            if not flight.failed and place == before:
                break
        return await self._lead(ask, Landing(None, self.unstorable, place))

    def _place(self, ask: Ask) -> tuple[bytes, int]:
        """Return what those have in common of whom one asks for all."""
        key = self.parts.shelf.place(ask.context.store, ask.request.key, ask.scope["headers"])
        return key, ask.request.flags & _APART

    async def _lead(self, ask: Ask, land: Landing) -> None:
        """Look in the second tier, where somebody else may have put it; then ask the app."""
        request, headers = ask.request, ask.scope["headers"]
        try:
            found: StoredResponse | str = ask.why
            if land.place not in self.unstorable:
                found = await self.parts.shelf.fetch(ask.context.store, request.key, headers)
            if isinstance(found, StoredResponse) and not request.flags & found.refuses:
                land("stored")
                return await self.replay(found, request, ask.scope, ask.send)
            self.misses.add()
            why = found if isinstance(found, str) else "uri-miss"
            if ask.scope["method"] == "HEAD":
                await self._pass(ask, why)
            else:
                await self._fill(ask, land, why)
        finally:
            land("again")  # nobody spoke before: this request was cancelled
        return None

    async def _pass(self, ask: Ask, why: str) -> None:
        """Ask for a head alone, which nothing can be stored of."""
        ask.context.response = ResponseControl(None)
        fields = self.parts.status.forwarded(why)
        await self.app(ask.scope, ask.receive, with_headers(ask.send, fields) if fields else ask.send)

    async def _fill(self, ask: Ask, land: Landing, why: str) -> None:
        context, scope = ask.context, ask.scope
        known = ask.matches[0].tags if ask.matches else ()
        tags = url_tags(scope["path"], scope["query_string"].decode("latin-1"))
        context.tags = context.store.collect(*tags, *known)  # before the app reads anything
        context.response = ResponseControl(context.tags)
        without_file_sending(scope)
        capture = Capture(self.parts, ask, land, why)
        try:
            await self.app(scope, capture.receive, capture.send)
            capture.abandon()  # in case it did not send the whole
        except Exception:
            capture.abandon()
            raise
        finally:
            capture.drop()
