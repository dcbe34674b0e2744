"""One transaction for a whole request, committed before a byte of its answer is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, overload

from anyio import sleep

from sipup_middleware import context
from sipup_middleware.context import Context
from sipup_middleware.database.attempts import Attempts, check_number, pause_after
from sipup_middleware.database.backend import Isolation, met_others
from sipup_middleware.database.facade import Facade, current
from sipup_middleware.database.lone import RequestTransaction
from sipup_middleware.database.replay import asgi_scope, replaying
from sipup_middleware.database.transaction import Options
from sipup_middleware.errors import ConfigurationError

__all__ = ("ERRORS_FROM", "transactional")

_P = ParamSpec("_P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

ERRORS_FROM = 400
"""The first status that rolls back."""


@overload
def transactional(function: F, /) -> F: ...


@overload
def transactional(
    *, retry: int = 1, isolation: Isolation | None = None, readonly: bool = False, deferrable: bool = False
) -> Callable[[F], F]: ...


def transactional(
    function: Callable[..., Any] | None = None,
    /,
    *,
    retry: int = 1,
    isolation: Isolation | None = None,
    readonly: bool = False,
    deferrable: bool = False,
) -> Any:
    """Run a handler, all that it asks of ``db``, in one transaction, begun at its first statement.

    The answer is held back until COMMIT has returned; with a status of 400 or more, or where the handler
    raises, everything is rolled back. A COMMIT that fails is a 500, or 503 in an outage: nothing was sent.

    *retry*: attempts in all, where others were in its way (`Facade.attempts`). The handler then commits when
    it returns, so that it can run again; what it has read of the request it finds again.

    Called by such a handler, or where no answer is to come (a websocket, a background task), it is a
    transaction, or a savepoint, of that call.
    """
    check_number(retry, "transactional.retry")
    options = Options(isolation, readonly, deferrable)

    def decorate(handler: Callable[_P, Any]) -> Callable[_P, Any]:
        if _is_async(handler):
            return _for_tasks(handler, retry, options)
        if retry > 1:
            raise ConfigurationError(
                f"transactional.retry takes an async function, not {handler!r}: in a def handler write"
                " for attempt in current().sync.attempts()"
            )
        return _for_threads(handler, options)

    return decorate if function is None else decorate(function)


def _is_async(handler: object) -> bool:
    call = getattr(type(handler), "__call__", None)  # noqa: B004 (whether it is async is the question)
    return iscoroutinefunction(handler) or iscoroutinefunction(call)


def _for_tasks(
    handler: Callable[_P, Awaitable[T]], retry: int, options: Options
) -> Callable[_P, Awaitable[T]]:
    @wraps(handler)
    async def transactional_handler(*args: _P.args, **kwargs: _P.kwargs) -> T:
        if (scope := asgi_scope(args)) is not None and scope["type"] == "lifespan":
            return await handler(*args, **kwargs)
        db, found = current(), context.current()
        if _nothing_to_hold_back(found):
            return await _call(db, retry, options, handler, *args, **kwargs)
        return await _Request(found, db, retry, options).serve(handler, args, kwargs)

    return transactional_handler


def _for_threads(handler: Callable[_P, T], options: Options) -> Callable[_P, T]:
    @wraps(handler)
    def transactional_handler(*args: _P.args, **kwargs: _P.kwargs) -> T:
        db, found = current(), context.current()
        if _nothing_to_hold_back(found):
            with db.sync.transaction(
                options.isolation, readonly=options.readonly, deferrable=options.deferrable
            ):
                return handler(*args, **kwargs)
        transaction = _opened(found, db, options)
        try:
            return handler(*args, **kwargs)
        except BaseException:
            found.before_answer = None
            db.sync.run(transaction.end, commit=False)
            raise

    return transactional_handler


def _opened(found: Context, db: Facade, options: Options) -> RequestTransaction:
    """Return the request's transaction: this task or thread is in it, whoever sends the answer ends it."""
    transaction = RequestTransaction(db, options)

    async def end(status: int) -> None:
        await transaction.end(commit=status < ERRORS_FROM)

    transaction.open()
    found.before_answer = end
    return transaction


def _nothing_to_hold_back(found: Context) -> bool:
    """Whether no answer is to come that could wait for what is called now."""
    return found.scope["type"] != "http" or found.started or found.before_answer is not None


async def _call(
    db: Facade,
    retry: int,
    options: Options,
    function: Callable[_P, Awaitable[T]],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> T:
    """Return what *function* returns, in a transaction of this call."""
    async for attempt in Attempts(db, retry, options):
        async with attempt:
            return await function(*args, **kwargs)
    raise AssertionError("the last attempt returns or raises")


class _Request:
    """One request and the transaction of its handler."""

    __slots__ = ("_context", "_db", "_options", "_retry")

    def __init__(self, found: Context, db: Facade, retry: int, options: Options) -> None:
        self._context = found
        self._db = db
        self._retry = retry
        self._options = options

    async def serve(
        self, handler: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        """Return what *handler* returns, from the attempt that went through."""
        if self._retry > 1:
            handler = replaying(handler, args)
        for number in range(1, self._retry):
            try:
                return await self._attempt(handler, args, kwargs)
            except Exception as error:
                if self._context.started or not met_others(error):
                    raise
                self._context.failure = None
            await sleep(pause_after(number))
        return await self._attempt(handler, args, kwargs)

    async def _attempt(
        self, handler: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        found = self._context
        transaction = _opened(found, self._db, self._options)
        try:
            result = await handler(*args, **kwargs)
            if self._retry > 1:
                found.before_answer = None
                await transaction.end(commit=getattr(result, "status_code", 200) < ERRORS_FROM)
        except BaseException:
            found.before_answer = None
            await transaction.end(commit=False)
            raise
        return result
