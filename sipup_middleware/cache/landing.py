"""Let those go who wait for one answer, as soon as it is known what becomes of it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from sipup_middleware.cache.unstorable import Unstorable
from sipup_middleware.store.flight import Flight

__all__ = ("Landing", "Outcome")

Outcome = Literal["stored", "unstorable", "again"]


class Landing:
    """The end of a flight; only the first word counts.

    ``unstorable``: the others ask the app at once, all of them. ``again``: one of them leads next.
    """

    __slots__ = ("_flight", "_over", "_unstorable", "place")

    def __init__(self, flight: Flight | None, unstorable: Unstorable, place: Hashable) -> None:
        self._flight = flight
        self._unstorable = unstorable
        self.place = place
        self._over = False

    def __call__(self, outcome: Outcome) -> None:
        """Let them go; a stream must not wait for its end to be known as one."""
        if self._over:
            return
        self._over = True
        if outcome == "unstorable":
            self._unstorable.add(self.place)
        if self._flight is not None:
            self._flight.land(failed=outcome == "again")
