"""A kind of work: a function, and how its jobs are to be run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, get_args

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs.policy import Backoff, Priority
from sipup_middleware.jobs.running import JobContext

__all__ = ("Function", "PayloadCheck", "Task", "job")

Function = Callable[Concatenate[JobContext, ...], Awaitable[object]]
PayloadCheck = Callable[[Mapping[str, Any]], object]
"""Looks at a payload; raises `ValueError` that names the field."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CATCHES_ALL = inspect.Parameter.VAR_KEYWORD
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A kind of work. A value: making one registers nothing, and calling it calls the function."""

    function: Function = field(kw_only=False)
    """``async def f(ctx, **payload)``; *ctx* is a `JobContext`, and what it returns is JSON, or None."""

    name: str
    """What it is enqueued by, e.g. ``invoice.sync``: letters, digits, ``_.-``."""

    priority: Priority = "normal"
    """``high``, ``normal`` or ``low``, where the enqueuer does not say."""

    retries: int = 3
    """Attempts after the first."""

    timeout: float = 60
    """Seconds that an attempt may take."""

    backoff: Backoff = (2, 4.0, 300)
    """Seconds before the first retry, the factor between retries, and the most; each is spread by 25 %."""

    check: PayloadCheck | None = field(default=None, repr=False)
    """Looks at a payload as it is enqueued, and raises `ValueError` that names the field."""

    _taken: str = field(init=False, repr=False, compare=False)
    _required: frozenset[str] = field(init=False, repr=False, compare=False)
    _known: frozenset[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not inspect.iscoroutinefunction(self.function):
            raise ConfigurationError(f"Task.function must be an async function, not {self.function!r}")
        if not inspect.signature(self.function).parameters:
            raise ConfigurationError("Task.function must take the job's context first")
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(f"Task.name must be 1 to 64 of A-Z a-z 0-9 _ . -, not {self.name!r}")
        if self.priority not in get_args(Priority):
            raise ConfigurationError(
                f"Task.priority must be one of {', '.join(get_args(Priority))}, not {self.priority!r}"
            )
        if self.retries < 0:
            raise ConfigurationError(f"Task.retries must be at least 0, not {self.retries}")
        if not 0 < self.timeout < float("inf"):
            raise ConfigurationError(f"Task.timeout must be above 0 seconds, not {self.timeout}")
        parts: Sequence[float] = self.backoff
        if len(parts) != 3 or not (parts[0] > 0 and parts[1] >= 1 and parts[2] > 0):  # noqa: PLR2004 (its parts)
            raise ConfigurationError(
                f"Task.backoff must be (seconds above 0, factor from 1, most seconds), not {self.backoff}"
            )
        ctx, *parameters = inspect.signature(self.function).parameters.values()
        names = [each for each in parameters if each.kind in _BY_NAME]
        catches_all = any(each.kind is _CATCHES_ALL for each in parameters)
        set_once = object.__setattr__
        set_once(self, "backoff", tuple(self.backoff))
        set_once(self, "_known", None if catches_all else frozenset(each.name for each in names))
        set_once(self, "_taken", ctx.name if ctx.kind in _BY_NAME else "")
        set_once(self, "_required", frozenset(each.name for each in names if each.default is each.empty))

    def __call__(self, ctx: JobContext, /, **payload: Any) -> Awaitable[object]:  # noqa: ANN401 (its own)
        """Do the work here and now, as a worker would."""
        return self.function(ctx, **payload)

    def examine(self, payload: Mapping[str, Any]) -> None:
        """Raise `ConfigurationError` that names what *payload* lacks, or has too much."""
        if missing := self._required - payload.keys():
            raise ConfigurationError(f"the payload of {self.name} lacks {', '.join(sorted(missing))}")
        known = self._known
        unknown = payload.keys() & {self._taken} if known is None else payload.keys() - known
        if unknown:
            raise ConfigurationError(
                f"the payload of {self.name} has no {', '.join(sorted(map(str, unknown)))}; "
                f"known: {'any other' if known is None else ', '.join(sorted(known)) or 'nothing'}"
            )
        if self.check is not None:
            try:
                self.check(payload)
            except ValueError as error:
                raise ConfigurationError(f"the payload of {self.name}: {error}") from None


def job(  # noqa: PLR0913 (a task's fields)
    name: str,
    *,
    priority: Priority = "normal",
    retries: int = 3,
    timeout: float = 60,
    backoff: Backoff = (2, 4.0, 300),
    check: PayloadCheck | None = None,
) -> Callable[[Function], Task]:
    """Make an async function a `Task`; the options are its fields."""

    def make(function: Function) -> Task:
        return Task(
            function,
            name=name,
            priority=priority,
            retries=retries,
            timeout=timeout,
            backoff=backoff,
            check=check,
        )

    return make
