"""One answer of the app on its way to the client, copied aside for as long as it may be stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.types import Message, Receive, Scope, Send

from sipup_middleware.cache.landing import Landing
from sipup_middleware.cache.policy import (
    Answer,
    Terms,
    freshness_lifetime,
    initial_age,
    settle,
    storable_fields,
)
from sipup_middleware.cache.request import NO_STORE, Request
from sipup_middleware.cache.rules import Match
from sipup_middleware.cache.shelf import Placed, Shelf
from sipup_middleware.cache.status import CacheStatus
from sipup_middleware.cache.stored import CODEC, StoredResponse
from sipup_middleware.context import Context
from sipup_middleware.telemetry import Counter
from sipup_middleware.telemetry.routes import template

__all__ = ("Ask", "Capture", "Parts", "without_file_sending")

_MOST_BUFFERED = 64 << 20
_SENDS_FILES = ("http.response.pathsend", "http.response.zerocopysend")


@dataclass(slots=True, kw_only=True)
class Parts:
    """What every capture of one wrapped app shares."""

    shelf: Shelf
    status: CacheStatus
    stored: Counter
    max_entry: int
    clock: Callable[[], float]
    buffered: int = field(default=0, init=False)
    """Bytes that all captures hold aside at present."""


@dataclass(slots=True)  # not frozen: that costs a microsecond a request
class Ask:
    """An ASGI call that the store has no answer for, and what is known of it."""

    request: Request
    why: str
    """Why this process has none, as RFC 9211 names it."""
    matches: tuple[Match, ...]
    context: Context
    scope: Scope
    receive: Receive
    send: Send


class Capture:
    """Stands between the app and the client; passes every message on at once, and keeps a copy.

    What turns out not to be storable is no longer looked at.
    """

    __slots__ = (
        "_ask",
        "_begun",
        "_born",
        "_fat",
        "_head",
        "_land",
        "_parts",
        "_pieces",
        "_root",
        "_send",
        "_size",
        "_terms",
        "_why",
    )

    def __init__(self, parts: Parts, ask: Ask, land: Landing, why: str) -> None:
        self._parts = parts
        self._ask = ask
        self._land = land
        self._why = why
        self._send = ask.send
        self._root = ask.scope.get("root_path", "")
        self._begun = self._born = parts.clock()
        self._fat = False
        self._head: tuple[int, list[tuple[bytes, bytes]], int | None] | None = None
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
            return self._send(self._start(message))
        if self._terms is None:
            return self._send(message)
        if kind == "http.response.body":
            return self._body(message)
        self.abandon()  # what sends its body in another way has none to copy
        return self._send(message)

    def abandon(self) -> None:
        """Keep nothing: no one need wait for it."""
        self.drop()
        self._land("unstorable")

    def drop(self) -> None:
        """Let go of what was kept aside."""
        self._terms = None
        self._pieces.clear()
        self._parts.buffered -= self._size
        self._size = 0

    def _start(self, message: Message) -> Message:
        headers = list(message.get("headers", ()))
        answer = Answer(message["status"], headers)
        terms = self._settle(answer, trailers=message.get("trailers", False))
        if isinstance(terms, Terms):
            self._terms = terms
            self._born = self._parts.clock() - terms.age
            self._head = answer.status, storable_fields(answer), answer.length
        else:
            self._land("unstorable")
        outcome = "stored" if isinstance(terms, Terms) else ""
        extra = self._parts.status.forwarded(self._why, outcome)
        return {**message, "headers": [*headers, *extra]}

    def _settle(self, answer: Answer, *, trailers: bool) -> Terms | str:
        control, flags = self._ask.context.response, self._ask.request.flags
        if control.bypassed or flags & NO_STORE:
            return "no-store"
        if trailers or self._fat or (answer.length or 0) > self._parts.max_entry:
            return "body"
        ruled = self._rule_ttl(answer)
        now = self._parts.clock()
        declared = freshness_lifetime(answer, now) if control.lifetime is None else control.lifetime
        age = initial_age(answer, now, max(0.0, now - self._begun))
        return settle(answer, flags, age=age, declared=declared, ruled=ruled)

    def _rule_ttl(self, answer: Answer) -> float | None:
        """Return the lifetime by the first rule that covers this media type; its tags count from now on."""
        kind = answer.media_type
        for match in self._ask.matches:
            if match.rule.content_type in {None, kind}:
                self._ask.context.response.tag(*match.tags)
                return match.rule.ttl if match.rule.allows(self._ask.scope["query_string"]) else None
        return None

    async def _body(self, message: Message) -> None:
        piece = bytes(message.get("body", b""))
        self._pieces.append(piece)
        self._size += len(piece)
        self._parts.buffered += len(piece)
        if self._size > self._parts.max_entry or self._parts.buffered > _MOST_BUFFERED:
            self.abandon()
        if message.get("more_body", False):
            return await self._send(message)
        placed = self._keep()
        await self._send(message)
        for key, entry, ttl, tags in placed:
            await self._ask.context.store.share(key, entry, CODEC, ttl=ttl, tags=tags)
        return None

    def _keep(self) -> list[Placed]:
        """Store the whole answer, before its last message is sent: whoever asks next gets it."""
        terms, ask = self._terms, self._ask
        if terms is None or self._head is None:
            return []
        status, fields, length = self._head
        if self._fat or length not in {None, self._size}:
            self.abandon()  # shorter or longer than it declared
            return []
        conditions = self._born, terms.lifetime, terms.refuses
        route = template(ask.scope, self._root)
        stored = StoredResponse(status, fields, b"".join(self._pieces), conditions, route=route)
        placed = self._parts.shelf.keep(ask.scope, ask.request.key, stored, terms.vary)
        self.drop()
        if placed:
            self._parts.stored.add()
        self._land("stored" if placed else "again")
        return placed


def without_file_sending(scope: Scope) -> None:
    """Withhold the extensions by which an app has the server send a file: we would not see its body.

    The dict of extensions is the server's, and stays as it is; *scope* is the copy of the outermost layer.
    """
    extensions = scope["extensions"]
    if any(name in extensions for name in _SENDS_FILES):
        scope["extensions"] = {name: extensions[name] for name in extensions if name not in _SENDS_FILES}
