"""Ask the app for what is not stored: one asks, the others wait for what it is given."""

from __future__ import annotations

from starlette.types import ASGIApp

from sipup_middleware.asgi import Problem
from sipup_middleware.cache.asking import Ask, Parts
from sipup_middleware.cache.fetching import Fetcher
from sipup_middleware.cache.refresh import refresh_behind
from sipup_middleware.cache.replay import replay
from sipup_middleware.cache.request import CONDITIONAL, NO_STORE, RANGE
from sipup_middleware.cache.reuse import covers_errors

__all__ = ("Filler",)

_ATTEMPTS = 3
_NOT_STORED = Problem(status=504, title="Gateway Timeout")


class Filler:
    """Answers from the store where that is still possible, else by the app; the app is asked once for all."""

    __slots__ = ("_lock", "_parts", "fetch")

    def __init__(self, app: ASGIApp, parts: Parts, *, lock: bool) -> None:
        self.fetch = Fetcher(app, parts)
        """Asks the app without looking at the store."""
        self._parts = parts
        self._lock = lock

    async def __call__(self, ask: Ask) -> None:
        """Answer a GET or HEAD that this process has no fresh answer for."""
        ask.locate()
        if ask.use == "send" or self._goes_alone(ask):
            return await self._lead(ask)
        flights, place = ask.context.store.flights, ask.place
        for _ in range(_ATTEMPTS):
            if place in self._parts.unstorable:
                break
            if self._need_not_wait(ask):
                return await self.send_stored(ask)
            flight = flights.join(place)
            await flight.__aenter__()
            if flight.leads:
                ask.flight = flight
                return await self._lead(ask)
            if await self._follow(ask):
                return None
            before, place = place, ask.locate()
            if not flight.failed and place == before:
                break
        return await self._lead(ask)

    async def send_stored(self, ask: Ask, *, collapsed_by: str = "") -> None:
        """Answer with what was met; *collapsed_by* is why the app was asked meanwhile."""
        stored, parts = ask.stale, self._parts
        assert stored is not None  # noqa: S101 (met before)
        remaining = stored.lifetime - ask.age
        (parts.hits if remaining > 0 else parts.stale).add()
        told = parts.status.hit(ask.age, remaining)
        if collapsed_by:
            told = (told[0], *parts.status.forwarded(collapsed_by, "collapsed"))
        await replay(stored, ask.request.flags, told, ask.scope, ask.send)

    def _goes_alone(self, ask: Ask) -> bool:
        """Say whether this request's answer is for nobody else, or for each to ask for."""
        flags = ask.request.flags
        if ask.use == "send and refresh":
            return bool(flags & NO_STORE)
        if not self._lock or flags & NO_STORE or ask.scope["method"] == "HEAD":
            return True
        if ask.stale is None:
            return bool(flags & (CONDITIONAL | RANGE))
        return ask.why == "request" or not ask.stale.lifetime

    def _need_not_wait(self, ask: Ask) -> bool:
        """Say whether the stale answer is made anew already, or better not at present."""
        waits = ask.place in ask.context.store.flights.leaders or ask.place in self._parts.erring
        return waits and ask.use == "send and refresh"

    async def _follow(self, ask: Ask) -> bool:
        """Answer with what another request got; False = that is nothing for this one."""
        why = ask.why
        found = self._parts.shelf.peek(ask.context.store, ask.request.key, ask.scope["headers"])
        if not ask.meet(found) or ask.stale is None:
            return False
        erring = ask.place in self._parts.erring
        if ask.use == "ask" and not (erring and covers_errors(ask.stale, ask.age, ask.wish)):
            return False
        await self.send_stored(ask, collapsed_by=why)
        return True

    async def _lead(self, ask: Ask) -> None:
        """Look in the second tier, where somebody else may have put it; then ask the app."""
        try:
            if ask.context.store.has_second_tier:
                await self._look_there(ask)
            if ask.use != "ask":
                await self._answer_first(ask)
            elif ask.wish is not None and ask.wish.only_if_cached:  # RFC 9111, section 5.2.1.7
                told = self._parts.status.refused("only-if-cached")
                await _NOT_STORED.send(ask.scope, ask.send, instance=ask.context.request_id, extra=told)
            else:
                await self.fetch(ask)
        finally:
            ask.land("again")  # nobody spoke before: this request was cancelled

    async def _look_there(self, ask: Ask) -> None:
        if ask.stale is None and ask.place not in self._parts.unstorable:
            store, headers = ask.context.store, ask.scope["headers"]
            ask.meet(await self._parts.shelf.fetch(store, ask.request.key, headers))
        elif ask.use == "ask" and ask.flight is not None:
            await ask.look_again()

    async def _answer_first(self, ask: Ask) -> None:
        """Answer with what is stored; where it is stale, who leads makes it anew behind its own response."""
        if ask.use == "send":
            ask.land("stored")
        await self.send_stored(ask)
        if ask.use == "send and refresh" and ask.flight is not None:
            await refresh_behind(ask, self.fetch.refresh)
