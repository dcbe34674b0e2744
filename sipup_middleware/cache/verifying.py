"""Let the app answer though the store could, and compare: the shadow mode, and samples of hits.

What a comparison finds is counted in ``cache.shadow``; a difference is told once a route, by the route's
template and the name of what differs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Message, Scope, Send

from sipup_middleware.cache.shadow import Sample, compare
from sipup_middleware.cache.stored import StoredResponse
from sipup_middleware.telemetry import Telemetry, WarningRaised
from sipup_middleware.telemetry.routes import template

__all__ = ("Comparison", "Verifier")

_MOST_TOLD = 1000


class Verifier:
    """Says which hits are compared, and keeps the books."""

    __slots__ = ("_differed", "_equal", "_telemetry", "_told", "picks", "shadows")

    def __init__(self, telemetry: Telemetry, *, shadows: bool, sample: float) -> None:
        self._telemetry = telemetry
        self._equal = telemetry.counter("cache.shadow", outcome="equal")
        self._differed = telemetry.counter("cache.shadow", outcome="different")
        self._told: set[tuple[str, str]] = set()
        self.shadows = shadows
        """Whether no stored answer is served at all."""
        self.picks: Callable[[], bool] = _always if shadows else Sample(sample)
        """Say whether this hit is compared."""

    @property
    def reason(self) -> str:
        """Why the store is bypassed."""
        return "shadow" if self.shadows else "sample"

    def note(self, route: str, difference: str | None) -> None:
        """Count a comparison; None = there is no *difference*."""
        if difference is None:
            self._equal.add()
            return
        self._differed.add()
        if (route, difference) in self._told or len(self._told) >= _MOST_TOLD:
            return
        self._told.add((route, difference))
        self._telemetry.emit(
            WarningRaised("cache", f"a stored answer of {route} differs from the app's in its {difference}")
        )


class Comparison:
    """Passes an answer on, and compares it with *stored* when it is whole; calls *differs* if it does."""

    __slots__ = ("_body", "_differs", "_most", "_root", "_scope", "_send", "_start", "_stored", "_verifier")

    def __init__(  # noqa: PLR0913 (two answers, and whom to tell)
        self,
        verifier: Verifier,
        stored: StoredResponse,
        scope: Scope,
        send: Send,
        *,
        most: int,
        differs: Callable[[], None] | None,
    ) -> None:
        self._verifier = verifier
        self._stored = stored
        self._scope = scope
        self._root = scope.get("root_path", "")
        self._send = send
        self._most = most
        self._differs = differs
        self._start: Message | None = None
        self._body = bytearray()

    def send(self, message: Message) -> Awaitable[None]:
        """Pass *message* on."""
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None:
            if len(self._body) <= self._most:  # what is longer is another already
                self._body += message.get("body", b"")
            if not message.get("more_body", False):
                self._compare(self._start)
        return self._send(message)

    def _compare(self, start: Message) -> None:
        fields = start.get("headers", ())
        difference = compare(self._stored, start["status"], fields, bytes(self._body))
        self._verifier.note(template(self._scope, self._root), difference)
        if difference is not None and self._differs is not None:
            self._differs()
        self._start = None


def _always() -> bool:
    return True
