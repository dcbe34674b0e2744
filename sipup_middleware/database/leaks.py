"""Connections that do not come back: who has them, and where they were borrowed.

The walk up the stack costs 1 us, so only what is held for more than a statement pays for it; it keeps code
and line numbers, no variables. A statement is known by its method and its route.
"""

from __future__ import annotations

import asyncio
import sys
from os import sep
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Protocol

from starlette.types import Scope

from sipup_middleware.telemetry import ConnectionLeaked
from sipup_middleware.telemetry.routes import UNMATCHED, template

if TYPE_CHECKING:
    from sipup_middleware.database.pool import Pool

__all__ = ("Borrower", "Holder", "report_leaks", "route_of", "watch_leases")

_DEPTH = 4
"""Callers that are named: a handler and those who called it."""

_STEPS = 12
"""Frames that are looked at."""

_OURS = f"{sep}sipup_middleware{sep}"
_NO_NEWS = ("contextlib.py", "asyncio", "anyio")
"""What stands between a handler and its caller and tells nothing."""


class Borrower(Protocol):
    """Who has a connection."""

    scope: Scope | None
    """The request's; None outside one."""

    @property
    def held_by(self) -> str:
        """What holds it, in a word."""

    @property
    def where(self) -> tuple[str, ...]:
        """The borrower and its callers."""


class Holder:
    """Who holds a connection for more than a statement; remembers where it was made."""

    __slots__ = ("_frames", "held_by", "scope")

    def __init__(self, held_by: str, scope: Scope | None) -> None:
        self.held_by = held_by
        self.scope = scope
        self._frames = _callers()

    @property
    def where(self) -> tuple[str, ...]:
        """The borrower and its callers, the innermost first."""
        named = (
            f"{code.co_filename}:{_line(code, at)} {code.co_name}"
            for code, at in self._frames
            if _OURS not in code.co_filename and not any(each in code.co_filename for each in _NO_NEWS)
        )
        return tuple(named)[:_DEPTH]


def _callers() -> list[tuple[CodeType, int]]:
    """Return code and place in it of who called, the innermost first: lines cost more, and wait."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 (the documented way to look at a caller)
    found: list[tuple[CodeType, int]] = []
    while frame is not None and len(found) < _STEPS:
        found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return found


def _line(code: CodeType, at: int) -> int | None:
    return next((line for begin, end, line in code.co_lines() if begin <= at < end), None)


async def watch_leases(pool: Pool, after: float) -> None:
    """Look for leaks, four times as often as it takes to be one."""
    while True:
        await asyncio.sleep(after / 4)
        report_leaks(pool, after)


def report_leaks(pool: Pool, after: float) -> None:
    """Tell, once each, of connections lent for longer than *after* seconds."""
    now = pool.clock()
    for lease in pool.all:
        borrower, held = lease.borrower, now - lease.since
        if borrower is None or held < after:
            continue
        lease.borrower = None
        pool.tally.count("leaked")
        route = route_of(borrower.scope)
        pool.tally.tell(ConnectionLeaked(route, borrower.held_by, borrower.where, round(held, 3)))


def route_of(scope: Scope | None) -> str:
    """Return the template of the route that serves *scope*."""
    if scope is None or "sipup" not in scope:
        return UNMATCHED
    return template(scope, scope["sipup"].scope.get("root_path", ""))
