"""A request that goes to the app, and what all such requests of one wrapped app share."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Literal

from starlette.types import Receive, Scope, Send

from sipup_middleware.cache.answer import Kinds
from sipup_middleware.cache.client import Wish
from sipup_middleware.cache.policy import House
from sipup_middleware.cache.recent import Recent
from sipup_middleware.cache.request import AUTHORIZATION, CONDITIONAL, COOKIE, NO_STORE, RANGE, Request
from sipup_middleware.cache.reuse import Use, use_of
from sipup_middleware.cache.rules import Match
from sipup_middleware.cache.shelf import Found, Shelf
from sipup_middleware.cache.status import CacheStatus
from sipup_middleware.cache.stored import StoredResponse
from sipup_middleware.context import Context
from sipup_middleware.store.flight import Flight
from sipup_middleware.telemetry import Telemetry

__all__ = ("Ask", "Outcome", "Parts")

Outcome = Literal["stored", "unstorable", "erred", "again"]

_CREDENTIALS = COOKIE | AUTHORIZATION
_APART = _CREDENTIALS | CONDITIONAL | RANGE | NO_STORE
"""What is given to a request with one of these need not be what others are given, or not storable."""


class Parts:
    """What every request to one wrapped app shares."""

    __slots__ = (
        "buffered",
        "clock",
        "erring",
        "hits",
        "house",
        "kinds",
        "max_entry",
        "misses",
        "revalidated",
        "shelf",
        "stale",
        "status",
        "stored",
        "telemetry",
        "unstorable",
    )

    def __init__(  # noqa: PLR0913 (all of it is shared)
        self,
        *,
        shelf: Shelf,
        status: CacheStatus,
        house: House,
        kinds: Kinds,
        max_entry: int,
        telemetry: Telemetry,
        clock: Callable[[], float],
    ) -> None:
        self.shelf = shelf
        self.status = status
        self.house = house
        self.kinds = kinds
        self.max_entry = max_entry
        self.telemetry = telemetry
        self.clock = clock
        self.hits = telemetry.counter("cache.requests", outcome="hit")
        self.stale = telemetry.counter("cache.requests", outcome="stale")
        self.misses = telemetry.counter("cache.requests", outcome="miss")
        self.revalidated = telemetry.counter("cache.requests", outcome="revalidated")
        self.stored = telemetry.counter("cache.stored")
        self.unstorable = Recent(5.0)
        """Of late, these answers were not storable: who asks for one asks at once ("hit for miss")."""
        self.erring = Recent(1.0)
        """Of late, the app failed at these: a stale answer does, without another try."""
        self.buffered = 0
        """Bytes that all captures hold aside at present."""


class Ask:
    """A GET or HEAD that this process has no fresh answer for, and what is known of it."""

    __slots__ = (
        "_over",
        "age",
        "context",
        "flight",
        "matches",
        "parts",
        "place",
        "receive",
        "refreshes",
        "request",
        "scope",
        "send",
        "stale",
        "use",
        "why",
        "wish",
    )

    def __init__(  # noqa: PLR0913, PLR0917 (one object a miss; keywords would cost more than the object)
        self,
        parts: Parts,
        request: Request,
        matches: tuple[Match, ...],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.parts = parts
        self.request = request
        self.matches = matches
        self.wish: Wish | None = None
        """What the client asks of a cache, where that counts."""
        self.scope = scope
        self.receive = receive
        self.send = send
        self.context: Context = scope["sipup"]
        self.flight: Flight | None = None
        """That of which this request is the leader."""
        self.place: Hashable = None
        """What those have in common of whom one asks for all."""
        self.stale: StoredResponse | None = None
        """What the store has, of this *age*, and which `use` it may be put to."""
        self.age = 0.0
        self.use: Use = "ask"
        self.why = "uri-miss"
        """Why the app is asked, as RFC 9211 names it."""
        self.refreshes = False
        """Whether the client has been answered already."""
        self._over = False

    def meet(self, found: Found) -> bool:
        """Take note of what the store has; say whether it is an answer that this request may get."""
        if type(found) is not StoredResponse:
            self.stale, self.why, self.use = None, str(found), "ask"
            return False
        if self.request.flags & found.refuses:
            return False
        self.stale = found
        self.age = max(0.0, self.parts.clock() - found.born)
        self.use = use_of(found, self.age, self.wish)
        self.why = "stale" if self.age >= found.lifetime else "request"
        return True

    async def look_again(self) -> None:
        """Meet what another process may have made of the stale answer meanwhile."""
        found = await self.parts.shelf.refetch(self.context.store, self.request.key, self.scope["headers"])
        if type(found) is StoredResponse:
            self.meet(found)

    def locate(self) -> Hashable:
        """Find its `place`, by what is known of the URL's variants at present."""
        key, flags = self.request.key, self.request.flags
        if self.why != "uri-miss":
            key = self.parts.shelf.place(self.context.store, key, self.scope["headers"])
        if self.stale is not None:
            flags = 0 if self.use == "send and refresh" else flags & _CREDENTIALS
        self.place = key, flags & _APART
        return self.place

    def forget(self) -> None:
        """Let the store have nothing for this request; other variants stay."""
        self.parts.shelf.drop(self.context.store, self.request.key, self.scope["headers"])

    def land(self, outcome: Outcome) -> None:
        """Let those go who wait; only the first word counts. A stream must not wait for its end.

        ``unstorable``: the others ask the app at once, all of them. ``erred``: they get what is stale.
        ``again``: one of them leads next.
        """
        if self._over:
            return
        self._over = True
        if outcome == "unstorable":
            self.parts.unstorable.add(self.place)
        elif outcome == "erred":
            self.parts.erring.add(self.place)
        if self.flight is not None:
            self.flight.land(failed=outcome == "again")
