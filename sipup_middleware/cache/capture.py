"""One answer of the app on its way to the client, copied aside for as long as it may be stored."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from starlette.types import Message, Scope

from sipup_middleware.cache.answer import Answer, storable_fields
from sipup_middleware.cache.asking import Ask
from sipup_middleware.cache.freshness import initial_age
from sipup_middleware.cache.groups import group_tags
from sipup_middleware.cache.policy import Said, Terms, settle
from sipup_middleware.cache.request import NO_STORE, provokes_errors
from sipup_middleware.cache.rules import misleads
from sipup_middleware.cache.shelf import Placed
from sipup_middleware.cache.stored import CODEC, StoredResponse
from sipup_middleware.store.tags import url_tags
from sipup_middleware.telemetry.routes import template

__all__ = ("Capture",)

_MOST_BUFFERED = 64 << 20
_NOT_MODIFIED = 304
_FIRST_REFUSAL = 400
_FIRST_ERROR = 500
_SILENCE = Said()


class Capture:
    """Stands between the app and the client; passes every message on at once, and keeps a copy.

    What turns out not to be storable is no longer looked at.
    """

    __slots__ = (
        "_answer",
        "_ask",
        "_begun",
        "_born",
        "_fat",
        "_pieces",
        "_root",
        "_scope",
        "_size",
        "_terms",
    )

    def __init__(self, ask: Ask, scope: Scope) -> None:
        self._ask = ask
        self._scope = scope
        """What the app is called with."""
        self._root = scope.get("root_path", "")
        self._begun = self._born = ask.parts.clock()
        self._fat = False
        self._terms: Terms | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    async def receive(self) -> Message:
        """Look for a body that no header announced: the answer may depend on it (HTTP/2 needs no length)."""
        message = await self._ask.receive()
        if message.get("body"):
            self._fat = True
        return message

    def send(self, message: Message) -> Awaitable[None]:  # not a coroutine of its own: one less a message
        """Pass *message* on."""
        kind = message["type"]
        if kind == "http.response.start":
            return self._ask.send(self._start(message))
        if self._terms is None:
            return self._ask.send(message)
        if kind == "http.response.body":
            return self._body(message)
        self.abandon()  # what sends its body in another way has none to copy
        return self._ask.send(message)

    def abandon(self) -> None:
        """Keep nothing: no one need wait for it."""
        self.drop()
        self._ask.land("unstorable")

    async def fail(self, error: Exception) -> bool:  # noqa: ARG002 (a validation tells it)
        """Answer for an app that raised; False = nothing can: it is for the server to tell."""
        return False

    def drop(self) -> None:
        """Let go of what was kept aside."""
        self._terms = None
        if self._pieces:
            self._pieces.clear()
            self._ask.parts.buffered -= self._size
            self._size = 0

    def _start(self, message: Message) -> Message:
        ask, parts = self._ask, self._ask.parts
        headers = message.get("headers", ())
        self._answer = answer = Answer(message["status"], headers, parts.kinds)
        terms = self._settle(answer, trailers=message.get("trailers", False))
        if type(terms) is Terms:
            self._terms = terms
            told = parts.status.forwarded(ask.why, "stored")
            if terms.lifetime + terms.swr <= terms.age:  # each has to ask
                ask.land("unstorable")
        else:
            told = parts.status.forwarded(ask.why, detail=str(terms))
            ask.land("unstorable")
            self._supersede(answer.status, str(terms))
        return {**message, "headers": [*_without_target(headers, answer, parts.kinds.target), *told]}

    def _settle(self, answer: Answer, *, trailers: bool) -> Terms | str:
        ask = self._ask
        control, flags = ask.context.response, ask.request.flags
        if control.bypassed or flags & NO_STORE:
            return "no-store"
        if answer.status >= _FIRST_REFUSAL and provokes_errors(ask.scope["headers"]):
            return "request"
        if trailers or self._fat or (answer.length or 0) > ask.parts.max_entry:
            return "body"
        if b"cache-groups" in answer.lines and ask.context.tags is not None:
            ask.context.tags.add(*group_tags(ask.scope, answer.lines[b"cache-groups"]))
        said = _SILENCE
        if ask.matches or control.lifetime is not None or control.stale_for is not None:
            said = Said(control.lifetime, control.stale_for)
            self._consult_rules(said, answer)
        now = ask.parts.clock()
        age = initial_age(answer, now, max(0.0, now - self._begun))
        self._born = now - age
        return settle(answer, flags, said, ask.parts.house, now=now, age=age)

    def _consult_rules(self, said: Said, answer: Answer) -> None:
        """Note the lifetime by the first rule that covers this media type; its tags count from now on."""
        for match in self._ask.matches:
            rule = match.rule
            if rule.content_type is None or rule.content_type == answer.media_type:
                self._ask.context.response.tag(*match.tags)
                if rule.allows(self._scope["query_string"]) and not misleads(self._scope["path"]):
                    said.ruled, said.ruled_stale = rule.ttl, rule.stale
                return

    def _supersede(self, status: int, reason: str) -> None:
        """Forget the stored answer whose place this one takes, though it is not stored itself."""
        ask = self._ask
        if ask.stale is None or status >= _FIRST_ERROR or status == _NOT_MODIFIED:
            return
        if reason not in {"set-cookie", "authorization"}:  # these concern one client
            ask.forget()

    async def _body(self, message: Message) -> None:
        ask, parts = self._ask, self._ask.parts
        piece = bytes(message.get("body", b""))
        self._pieces.append(piece)
        self._size += len(piece)
        parts.buffered += len(piece)
        if self._size > parts.max_entry or parts.buffered > _MOST_BUFFERED:
            self.abandon()
        if message.get("more_body", False):
            return await ask.send(message)
        placed = self._keep()
        await ask.send(message)
        for key, entry, ttl, tags in placed:
            await ask.context.store.share(key, entry, CODEC, ttl=ttl, tags=tags)
        return None

    def _keep(self) -> list[Placed]:
        """Store the whole answer, before its last message is sent: whoever asks next gets it."""
        terms, answer = self._terms, self._answer
        if terms is None:
            return []
        if self._fat or (answer.length is not None and answer.length != self._size):
            self.abandon()  # shorter or longer than it declared
            return []
        route = template(self._scope, self._root)
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        stored = StoredResponse(answer, storable_fields(answer), body, terms, born=self._born, route=route)
        placed = self._place(stored, terms)
        self.drop()
        self._ask.land("stored" if placed else "again")
        return placed

    def _place(self, stored: StoredResponse, terms: Terms) -> list[Placed]:
        ask, scope, tags = self._ask, self._ask.scope, self._ask.context.tags
        assert tags is not None  # noqa: S101 (collected since the app was asked)
        if stored.etag is not None or stored.modified is not None:
            stored.tags = tuple(dict.fromkeys(tags.names))
        tags.add(*url_tags(scope["path"], scope["query_string"].decode("latin-1")))
        until = self._born + terms.until
        placed = ask.parts.shelf.keep(scope, ask.request.key, stored, terms.vary, until=until, tags=tags)
        if placed:
            ask.parts.stored.add()
        return placed


def _without_target(
    headers: Iterable[tuple[bytes, bytes]], answer: Answer, target: bytes | None
) -> Iterable[tuple[bytes, bytes]]:
    """Return *headers* without those of the field that is for us alone."""
    if not answer.own:
        return headers
    return [pair for pair in headers if pair[0].lower() != target]
