"""A transaction whose body may run again, because others were in its way."""

from __future__ import annotations

from random import random
from types import TracebackType
from typing import TYPE_CHECKING, Self

from anyio import sleep

from sipup_middleware.database.backend import met_others
from sipup_middleware.database.transaction import Options, Transaction
from sipup_middleware.errors import ConfigurationError

if TYPE_CHECKING:
    from sipup_middleware.database.facade import Facade

__all__ = ("Attempt", "Attempts", "check_number", "pause_after")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5
"""Seconds between two attempts at most: the first, doubled each time, and the longest."""


def check_number(number: int, name: str) -> int:
    """Return *number*; raises `ConfigurationError` where that is no number of attempts."""
    if number < 1:
        raise ConfigurationError(f"{name} must be at least 1 attempt, not {number}")
    return number


def pause_after(attempt: int) -> float:
    """Return the seconds to wait after the *attempt*-th, from 1: random, so that those who met part."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (attempt - 1))
    return longest * (0.5 + random() / 2)  # noqa: S311 (spreads the attempts, guards nothing)


class Attempt:
    """``async with attempt``: a transaction; an error that calls for another attempt ends here."""

    __slots__ = ("_last", "failed", "number", "transaction")

    def __init__(self, transaction: Transaction, number: int, *, last: bool) -> None:
        self.number = number
        """Counted from 1."""
        self.failed = False
        self._last = last
        self.transaction = transaction

    async def __aenter__(self) -> Self:
        await self.transaction.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            await self.transaction.__aexit__(kind, error, trace)
        except Exception as failure:
            error = failure
            self.failed = not self._last and met_others(failure)
            if not self.failed:
                raise
        else:
            self.failed = error is not None and not self._last and met_others(error)
        return self.failed


class Attempts:
    """``async for attempt in db.attempts(3)``: as many transactions as it takes, and as are allowed.

    Inside a transaction there is one only: what failed is the whole, so the outermost must run again.
    """

    __slots__ = ("_attempt", "_facade", "_number", "_options")

    def __init__(self, facade: Facade, number: int, options: Options) -> None:
        self._facade = facade
        self._number = check_number(number, "attempts")
        self._options = options
        self._attempt: Attempt | None = None

    def __aiter__(self) -> Attempts:
        return self

    async def __anext__(self) -> Attempt:
        if (attempt := await self.next()) is None:
            raise StopAsyncIteration
        return attempt

    async def next(self) -> Attempt | None:
        """Return the next attempt, after a pause if it is not the first; None = the last went through."""
        last = self._attempt
        if last is None:
            self._number = 1 if self._facade.in_transaction else self._number
        elif last.failed:
            await sleep(pause_after(last.number))
        else:
            return None
        number = last.number + 1 if last is not None else 1
        transaction = Transaction(self._facade, self._options)
        self._attempt = Attempt(transaction, number, last=number == self._number)
        return self._attempt
