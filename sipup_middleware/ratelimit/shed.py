"""What a user may say about load shedding, checked as it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from starlette.types import Scope

from sipup_middleware.errors import ConfigurationError

__all__ = ("LoadShed",)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadShed:
    """Refuse requests that the app has no room for, before it slows down for everyone.

    Counted in each process for itself.
    """

    max_inflight: int = 2048
    """Requests, streams and websockets at once."""

    max_per_client: int = 64
    """Of these, requests of one client, with those that wait; and as many websockets, counted apart."""

    queue: int = 256
    """Requests that wait for room, oldest first; 0 = none. Websockets never wait: they leave too late."""

    queue_timeout: float = 0.25
    """Seconds that a request waits at most."""

    adaptive: bool = True
    """Lower the limit, to no less than 20, while responses take longer than usual; else up to the maximum."""

    max_loop_lag: float = 0.2
    """Seconds that the event loop may be late before it gets no more requests; ``math.inf`` = any."""

    priority: Callable[[Scope], int] | None = None
    """``f(scope) -> int``: of those that wait the higher goes first and is refused last; None = all equal."""

    def __post_init__(self) -> None:
        _check_count("max_inflight", self.max_inflight, least=1)
        _check_count("max_per_client", self.max_per_client, least=1)
        _check_count("queue", self.queue, least=0)
        _check_seconds("queue_timeout", self.queue_timeout)
        _check_seconds("max_loop_lag", self.max_loop_lag)
        if not isfinite(self.queue_timeout):
            raise ConfigurationError("LoadShed.queue_timeout must be finite: nobody waits for ever")
        if not isinstance(self.adaptive, bool):
            raise ConfigurationError(f"LoadShed.adaptive must be True or False, not {self.adaptive!r}")
        if self.priority is not None and not callable(self.priority):
            raise ConfigurationError(
                f"LoadShed.priority must be a function of the scope, not {self.priority!r}"
            )


def _check_count(name: str, value: Any, *, least: int) -> None:  # noqa: ANN401 (whatever the user gave)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigurationError(f"LoadShed.{name} must be a whole number of at least {least}, not {value!r}")


def _check_seconds(name: str, value: Any) -> None:  # noqa: ANN401 (whatever the user gave)
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise ConfigurationError(f"LoadShed.{name} must be a number of seconds above 0, not {value!r}")
