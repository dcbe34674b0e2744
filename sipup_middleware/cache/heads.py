"""What the answer to a HEAD tells of a stored GET: RFC 9111, section 4.3.5."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import Message

from sipup_middleware.cache.answer import Answer
from sipup_middleware.cache.freshening import describes
from sipup_middleware.cache.passing import marked
from sipup_middleware.cache.validation import Validation, nothing

__all__ = ("HeadWatch",)

_OK = 200


class HeadWatch(Validation):
    """Passes the head on; renews the stored answer that it describes, forgets one that it does not.

    Of an app that fails the stored one tells, as to a GET.
    """

    __slots__ = ()

    def send(self, message: Message) -> Awaitable[None]:
        """Pass *message* on."""
        ask = self._ask
        if self.muted:
            return nothing()
        if message["type"] != "http.response.start":
            return ask.send(message)
        if self._fails(message["status"]):
            return self._stand_in(message["status"])
        self._started = True
        ask.parts.misses.add()
        if message["status"] == _OK:
            self._compare(Answer(_OK, message.get("headers", ()), ask.parts.kinds))
        return marked(ask.send, ask.parts.status.forwarded(ask.why), ask.parts.kinds.target)(message)

    def _compare(self, answer: Answer) -> None:
        if self._stored.status == _OK and describes(self._stored, answer):
            self._renew(answer)
        else:
            self._supersede(_OK, "head")
