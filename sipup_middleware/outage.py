"""Answer for the handler that let an outage fly, whatever its host makes of the exception.

A facade notes the error it raises in ``context.failure``. A response that then starts with status 500 is the
host's page for it: ours takes its place. Any other status is the handler's own word and is never touched.
"""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware.asgi import Problem
from sipup_middleware.context import Context
from sipup_middleware.errors import QueryTimeout

__all__ = ("answer_outages",)

_UNAVAILABLE = Problem(status=503, title="Service Unavailable", headers=((b"retry-after", b"1"),))
_TIMEOUT = Problem(status=504, title="Gateway Timeout")


async def answer_outages(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one HTTP request; where an outage made it fail, send 503 or 504 instead of a 500."""
    context: Context = scope["sipup"]
    if context.answered_for:
        return await app(scope, receive, send)
    context.answered_for = True
    responder = _Responder(context, scope, send)
    try:
        await app(scope, receive, responder.send)
    except Exception as error:
        if context.failure is None or responder.started:
            raise
        await responder.answer()
        if not _is(error, context.failure):
            raise
    return None


class _Responder:
    """Passes the response on, or ours in its place: whichever starts first."""

    __slots__ = ("_context", "_replaced", "_scope", "_send", "started")

    def __init__(self, context: Context, scope: Scope, send: Send) -> None:
        self.started = False
        self._replaced = False
        self._context = context
        self._scope = scope
        self._send = send

    def send(self, message: Message) -> Awaitable[None]:  # not a coroutine of its own: one less a message
        if self._context.failure is not None:
            return self._send_unless_replaced(message)
        self.started = True
        return self._send(message)

    async def _send_unless_replaced(self, message: Message) -> None:
        if self._replaced:
            return
        if message["type"] == "http.response.start" and message["status"] == 500:  # noqa: PLR2004 (the host's page)
            await self.answer()
            return
        self.started = True
        await self._send(message)

    async def answer(self) -> None:
        if not self._replaced:
            self._replaced = True
            problem = _TIMEOUT if isinstance(self._context.failure, QueryTimeout) else _UNAVAILABLE
            await problem.send(self._scope, self._send, instance=self._context.request_id)


def _is(error: BaseException | None, failure: Exception) -> bool:
    """Say whether *error* is *failure*, was caused by it, or is a group of such."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is(inner, failure) for inner in error.exceptions)
    while error is not None and error is not failure:
        error = error.__cause__ or error.__context__
    return error is not None
