"""Ask the app whether a stored answer still holds: RFC 9111, section 4.3; RFC 5861, section 4."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import Message, Scope

from sipup_middleware.cache.answer import Answer, storable_fields
from sipup_middleware.cache.asking import Ask
from sipup_middleware.cache.capture import Capture
from sipup_middleware.cache.freshening import confirms, freshened
from sipup_middleware.cache.freshness import retention
from sipup_middleware.cache.policy import Terms
from sipup_middleware.cache.replay import replay
from sipup_middleware.cache.reuse import covers_errors
from sipup_middleware.cache.shelf import Placed
from sipup_middleware.cache.stored import CODEC, StoredResponse
from sipup_middleware.cache.vary import vary_fields
from sipup_middleware.telemetry import ErrorUnhandled

__all__ = ("Validation", "nothing", "plain_scope", "validating_scope")

_ERRORS = frozenset({500, 502, 503, 504})
"""RFC 5861, section 4."""

_CONDITIONS = frozenset({b"if-modified-since", b"if-none-match", b"if-range", b"range"})


def plain_scope(scope: Scope) -> Scope:
    """Return a GET for the whole of what *scope* asks for, whatever its client has of it."""
    headers = [pair for pair in scope["headers"] if pair[0] not in _CONDITIONS]
    return {**scope, "method": "GET", "headers": headers}


def validating_scope(scope: Scope, stored: StoredResponse) -> Scope:
    """Return a GET that *stored* answers if the app says so: RFC 9111, section 4.3.1."""
    inner = plain_scope(scope)
    if stored.etag is not None:
        inner["headers"].append((b"if-none-match", stored.etag))
    if stored.modified is not None:
        inner["headers"].append((b"if-modified-since", stored.modified))
    return inner


class Validation(Capture):
    """Lets the app's answer pass as any other, unless the stored one is to be sent in its place.

    That is when the app confirms it, and when the app fails and it may be sent stale.
    """

    __slots__ = ("_conditional", "_started", "_stored", "denied", "muted")

    def __init__(self, ask: Ask, scope: Scope, stored: StoredResponse, *, conditional: bool) -> None:
        super().__init__(ask, scope)
        self._stored = stored
        self._conditional = conditional
        self._started = False
        self.muted = False
        """Whether what the app sends reaches nobody."""
        self.denied = False
        """Whether a 304 was about something else: the app is to be asked again, without a condition."""

    def send(self, message: Message) -> Awaitable[None]:
        """Pass *message* on, if it still matters."""
        if self.muted:
            return nothing()
        if message["type"] == "http.response.start":
            status = message["status"]
            if status == 304 and self._conditional:  # noqa: PLR2004 (Not Modified)
                return self._not_modified(message)
            if self._fails(status):
                return self._stand_in(status)
            self._started = True
            if not self._ask.refreshes:
                self._ask.parts.misses.add()
        return super().send(message)

    def abandon(self) -> None:
        """Keep nothing; who waits goes on waiting where the app is asked once more."""
        self.drop()
        if not self.denied:
            self._ask.land("unstorable")

    async def fail(self, error: Exception) -> bool:
        """Send the stored answer for an app that raised, where that is allowed, and tell the error."""
        if self._started or not (self.muted or self._may_stand_in()):
            return False
        ask = self._ask
        fact = ErrorUnhandled(type(error).__name__, self._stored.route, ask.context.request_id)
        ask.parts.telemetry.emit(fact)
        if not self.muted:
            await self._stand_in(0)
        return True

    def _fails(self, status: int) -> bool:
        """Say whether *status* is of an error that the client need not see."""
        return status in _ERRORS and self._may_stand_in()

    def _may_stand_in(self) -> bool:
        ask = self._ask
        return ask.refreshes or covers_errors(self._stored, ask.parts.clock() - self._stored.born, ask.wish)

    async def _stand_in(self, status: int) -> None:
        """Send the stored answer in place of an error; 0 = the app raised."""
        self.muted = True
        self._ask.land("erred")
        if not self._ask.refreshes:
            self._ask.parts.stale.add()
            await self._send_stored(self._stored, "", status)

    async def _not_modified(self, message: Message) -> None:
        self.muted = True
        ask, parts = self._ask, self._ask.parts
        answer = Answer(304, message.get("headers", ()), parts.kinds)
        if not confirms(self._stored, answer):
            self.denied = True
            return
        renewed, placed = self._renew(answer)
        ask.land("stored" if placed and renewed.lifetime else "unstorable")
        if not ask.refreshes:
            parts.revalidated.add()
            await self._send_stored(renewed, "stored" if placed else "", 304)
        for key, entry, ttl, tags in placed:
            await ask.context.store.share(key, entry, CODEC, ttl=ttl, tags=tags)

    def _renew(self, answer: Answer) -> tuple[StoredResponse, list[Placed]]:
        """Return the stored answer under the head that *answer* gives it, and where it was placed."""
        old = self._stored
        head = freshened(old, answer, self._ask.parts.kinds)
        if self._ask.context.tags is not None:
            self._ask.context.tags.add(*old.tags)  # its body was made from these, this head perhaps was not
        terms = self._settle(head, trailers=False)
        if terms == "undeclared":  # what the handler said of the whole answer still holds
            terms = Terms(old.lifetime, 0.0, old.refuses, vary_fields(head.all(b"vary")) or ())
            terms.until += retention(head, old.lifetime)
        lasting = terms if isinstance(terms, Terms) else Terms(0.0, 0.0, 0, ())
        renewed = StoredResponse(
            head, storable_fields(head), old.body, lasting, born=self._born, route=old.route
        )
        if isinstance(terms, Terms):
            return renewed, self._place(renewed, terms)
        self._supersede(head.status, terms)
        return renewed, []

    async def _send_stored(self, stored: StoredResponse, outcome: str, code: int) -> None:
        ask, parts = self._ask, self._ask.parts
        age = max(0.0, parts.clock() - stored.born)
        told = parts.status.from_store(ask.why, age, stored.lifetime - age, outcome=outcome, code=code)
        await replay(stored, ask.request.flags, told, ask.scope, ask.send)


async def nothing() -> None:
    """Send nothing."""
