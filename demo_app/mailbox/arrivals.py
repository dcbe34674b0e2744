"""What has arrived: the latest two hundred, each shown once however often it came."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

__all__ = ("Arrival", "Arrivals", "Kind")

Kind = Literal["email", "webhook"]
_KEPT = 200


@dataclass(slots=True)
class Arrival:
    """One e-mail or webhook."""

    number: int
    kind: Kind
    name: str | None
    """What its sender calls it, each time that it is sent."""

    at: float
    seconds: float | None
    """From when it was asked for until it was here."""

    shown: Mapping[str, object]
    repeated: int = 0

    def document(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            "number": self.number,
            "kind": self.kind,
            "id": self.name,
            "at": _rfc3339(self.at),
            "seconds": self.seconds,
            "repeated": self.repeated,
            **self.shown,
        }


class Arrivals:
    """The latest arrivals, and how many there have been."""

    def __init__(self, *, kept: int = _KEPT, clock: Callable[[], float] = time.time) -> None:
        self._kept = kept
        self._clock = clock
        self._life = uuid4().hex[:12]
        self._changes = 0
        self._number = 0
        self.clear()

    @property
    def version(self) -> str:
        """Another word after each change, and in each process."""
        return f"{self._life}-{self._changes}"

    def add(self, kind: Kind, name: str | None, *, since: object, shown: Mapping[str, object]) -> None:
        """Keep what is *shown* of an arrival; if its *name* is known already, count it there.

        *since* is when it was asked for: RFC 3339, or seconds since 1970; anything else says nothing.
        """
        self._changes += 1
        known = self._named.get((kind, name)) if name is not None else None
        if known is not None:
            known.repeated += 1
            self._totals["repeated"] += 1
            return
        now = self._clock()
        self._number += 1
        self._keep(Arrival(self._number, kind, name, now, _seconds(since, now), shown))
        self._totals[kind] += 1

    def refuse(self) -> None:
        """Count a webhook that was not let in."""
        self._changes += 1
        self._totals["refused"] += 1

    def clear(self) -> None:
        """Forget all that has arrived."""
        self._changes += 1
        self._latest: deque[Arrival] = deque()
        self._named: dict[tuple[Kind, str], Arrival] = {}
        self._totals = {"email": 0, "webhook": 0, "repeated": 0, "refused": 0}

    def document(self) -> dict[str, object]:
        """Return all of it for JSON, newest first."""
        return {"arrivals": [each.document() for each in self._latest], "totals": self._totals}

    def _keep(self, arrival: Arrival) -> None:
        self._latest.appendleft(arrival)
        if arrival.name is not None:
            self._named[arrival.kind, arrival.name] = arrival
        if len(self._latest) > self._kept:
            oldest = self._latest.pop()
            if oldest.name is not None:
                del self._named[oldest.kind, oldest.name]


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(since: object, now: float) -> float | None:
    began = _time(since)
    return round(now - began, 3) if began is not None and began <= now else None


def _time(said: object) -> float | None:
    """Return seconds since 1970 of what a sender wrote, where it means one moment."""
    if isinstance(said, (int, float)) and not isinstance(said, bool):
        return float(said)
    if not isinstance(said, str):
        return None
    try:
        moment = datetime.fromisoformat(said.strip())
    except ValueError:
        return None
    return None if moment.tzinfo is None else (moment - datetime.fromtimestamp(0, UTC)).total_seconds()
