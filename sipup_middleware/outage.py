"""Answer for the handler that let an outage fly, whatever its host makes of the exception.

A facade notes the error it raises in ``context.failure``. A response that then starts with status 500 is the
host's page for it: ours takes its place. Any other status is the handler's own word and is never touched.

``context.before_answer`` has the first word: a transaction is committed there. Where it fails, the response
that was about to start is not sent. Most hosts believe by then that it was, and say no more: we do.
"""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware.asgi import Problem
from sipup_middleware.context import Context
from sipup_middleware.errors import OUTAGES, ClientDisconnected, QueryTimeout

__all__ = ("answer_outages",)

_UNAVAILABLE = Problem(status=503, title="Service Unavailable", headers=((b"retry-after", b"1"),))
_TIMEOUT = Problem(status=504, title="Gateway Timeout")
_ERROR = Problem(status=500, title="Internal Server Error")
_LEFT = Problem(status=499, title="Client Closed Request")
"""Nobody reads it; it is what access logs know by that number."""


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
        failure = context.failure
        if failure is None or (context.started and not isinstance(failure, ClientDisconnected)):
            raise
        if not context.started:
            await responder.answer()
        if not _is_answered_for(error, failure):
            raise
    else:
        if responder.kept_back and not context.started:
            await responder.answer()
    return None


class _Responder:
    """Passes the response on, or ours in its place: whichever starts first."""

    __slots__ = ("_context", "_replaced", "_scope", "_send", "kept_back")

    def __init__(self, context: Context, scope: Scope, send: Send) -> None:
        self.kept_back = False
        """A response was not let through: what belongs to it is dropped, until another starts."""
        self._replaced = False
        self._context = context
        self._scope = scope
        self._send = send

    def send(self, message: Message) -> Awaitable[None]:  # not a coroutine of its own: one less a message
        context = self._context
        if context.failure is not None or context.before_answer is not None:
            return self._send_with_care(message)
        context.started = True
        return self._send(message)

    async def _send_with_care(self, message: Message) -> None:
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            await self._settle(message["status"])
            if self._context.failure is not None and message["status"] == 500:  # noqa: PLR2004 (the host's page)
                await self.answer()
                return
            self.kept_back = False
        elif self.kept_back:
            return
        self._context.started = True
        await self._send(message)

    async def _settle(self, status: int) -> None:
        settle, self._context.before_answer = self._context.before_answer, None
        if settle is None:
            return
        try:
            await settle(status)
        except Exception as error:
            self.kept_back = True
            self._context.failure = error
            raise

    async def answer(self) -> None:
        if not self._replaced:
            self._replaced = True
            problem = _problem(self._context.failure)
            await problem.send(self._scope, self._send, instance=self._context.request_id)


def _problem(failure: Exception | None) -> Problem:
    if isinstance(failure, QueryTimeout):
        return _TIMEOUT
    if isinstance(failure, OUTAGES):
        return _UNAVAILABLE
    return _LEFT if isinstance(failure, ClientDisconnected) else _ERROR


def _is_answered_for(error: BaseException, failure: Exception) -> bool:
    """Say whether *error* is an outage that was answered, so that nobody else need hear of it."""
    return isinstance(failure, (*OUTAGES, ClientDisconnected)) and _is(error, failure)


def _is(error: BaseException | None, failure: Exception) -> bool:
    """Say whether *error* is *failure*, was caused by it, or is a group of such."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is(inner, failure) for inner in error.exceptions)
    while error is not None and error is not failure:
        error = error.__cause__ or error.__context__
    return error is not None
