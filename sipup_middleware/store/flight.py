"""Single flight: of those who miss the same thing at once, one makes it and the others wait for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.lowlevel import current_token

__all__ = ("Flight", "SingleFlight")


class SingleFlight:
    """Who leads, by key; its callers may be on several loops and threads."""

    def __init__(self, *, wait: float = 10.0) -> None:
        self.wait = wait
        """Seconds that a follower waits at most."""
        self.coalesced = 0
        """How often somebody followed."""
        self.leaders: dict[Hashable, Flight] = {}

    def join(self, key: Hashable) -> Flight:
        """Enter with ``async with``: a leader enters at once, a follower when the leader is gone."""
        return Flight(self, key)


class Flight:
    """One caller's part. A leader that leaves, in whatever way, lets its followers go."""

    __slots__ = ("_flights", "_key", "_landed", "_waiting", "failed", "leads")

    def __init__(self, flights: SingleFlight, key: Hashable) -> None:
        self._flights = flights
        self._key = key
        self._waiting: list[tuple[Any, Callable[[], object]]] = []
        self._landed = False
        self.leads = False
        """Whether this caller makes the thing."""
        self.failed = False
        """For a follower: the leader raised or was cancelled; join again, lest everyone make the thing."""

    async def __aenter__(self) -> Self:
        leader = self._flights.leaders.setdefault(self._key, self)
        if leader is self:
            self.leads = True
        else:
            self._flights.coalesced += 1
            await leader._followed(self._flights.wait)  # noqa: SLF001 (another of its kind)
            self.failed = leader.failed
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.leads:
            self.land(failed=kind is not None)

    async def _followed(self, wait: float) -> None:
        gone = anyio.Event()
        self._waiting.append((current_token().native_token, gone.set))
        if not self._landed:  # looked at after the append: the leader may be on another thread
            with anyio.move_on_after(wait):
                await gone.wait()

    def land(self, *, failed: bool = False) -> None:
        """Let the followers go: what a leader does, once, that did not enter by ``async with``."""
        self.failed = failed
        del self._flights.leaders[self._key]
        self._landed = True
        if self._waiting:
            here = current_token().native_token
            for token, wake in self._waiting:
                if token is here:
                    wake()
                else:
                    _post(token, wake)


def _post(token: Any, wake: Callable[[], object]) -> None:  # noqa: ANN401 (an asyncio loop or a trio token)
    post = getattr(token, "call_soon_threadsafe", None) or token.run_sync_soon
    with suppress(RuntimeError):  # that loop is closed, and its followers with it
        post(wake)
