"""The second tier as the store sees it: an outage is a miss; after a few it is left alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TypeVar, TypeVarTuple, Unpack

from anyio import CancelScope

from sipup_middleware.breaker import Breaker
from sipup_middleware.bridge import Background, Home, spawn
from sipup_middleware.errors import StoreUnavailable
from sipup_middleware.store.backend import Backend
from sipup_middleware.store.report import Report
from sipup_middleware.telemetry import BackendLost, BackendRestored, Reading

__all__ = ("SecondTier",)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SecondTier:
    """A backend behind a breaker; called from any loop, works on its *home*."""

    def __init__(
        self, backend: Backend, home: Home, report: Report, *, breaker: Breaker | None = None
    ) -> None:
        self.errors = 0
        self._backend = backend
        self._home = home
        self._report = report
        self._breaker = breaker or Breaker()
        self._deleting: set[Background] = set()

    @property
    def degraded(self) -> bool:
        """Whether the server is being left alone."""
        return self._breaker.is_open

    async def get(self, key: str) -> bytes | None:
        """Return what *key* holds; None also where the server does not answer."""
        return await self._try("get", self._backend.get, key)

    async def set(self, key: str, data: bytes, ttl: float) -> None:
        """Let *key* hold *data* for *ttl* seconds; the deadline cuts it off, a cancelled scope does not.

        A value that the server has no room for is counted apart: the server is well.
        """
        with CancelScope(shield=True):
            kept = await self._try("set", self._backend.set, key, data, ttl)
        if kept is False:
            self._report.count("store.refused")

    def delete(self, key: str) -> None:
        """Let *key* hold nothing, soon; lost in an outage."""
        self._home.post(self._begin_delete, key)

    async def ping(self) -> Reading:
        """Ask even where the breaker is open: an answer closes it."""
        began = monotonic()
        try:
            await self._home.call(self._backend.ping)
        except (OSError, RuntimeError) as error:
            self._failed("ping", error)
            return Reading(status="fail", output="the second tier does not answer; its entries are missed")
        self._succeeded()
        return Reading(round(1000 * (monotonic() - began), 3), "ms")

    async def aclose(self) -> None:
        """Close every connection."""
        for each in tuple(self._deleting):
            await each.aclose()
        with suppress(StoreUnavailable):
            await self._backend.aclose()

    async def _try(self, op: str, function: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T | None:
        if not self._home.alive or not self._breaker.admits():
            return None
        try:
            answer = await self._home.call(function, *args)
        except (OSError, RuntimeError) as error:  # RuntimeError: the loop was closed meanwhile
            self._failed(op, error)
            return None
        self._succeeded()
        return answer

    def _failed(self, op: str, error: Exception) -> None:
        self.errors += 1
        self._report.count("store.errors", op=op)
        if self._breaker.fail():
            reason = str(error) if isinstance(error, StoreUnavailable) else type(error).__name__
            self._report.emit(BackendLost("store", reason))

    def _succeeded(self) -> None:
        if self._breaker.succeed():
            self._report.emit(BackendRestored("store"))

    def _begin_delete(self, key: str) -> None:
        async def work() -> None:
            with suppress(StoreUnavailable):
                await self._backend.delete(key)
            self._deleting.discard(background)

        background = spawn(self._home, work, name="store:delete")
        self._deleting.add(background)
