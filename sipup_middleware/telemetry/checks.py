"""What readiness asks of a layer, and how a layer answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from sipup_middleware.errors import ConfigurationError

__all__ = ("Check", "Reading", "Status")

Status = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer of a check; a probe that raises is a ``fail``."""

    value: float | str | dict[str, float] | None = None
    unit: str | None = None
    status: Status = "pass"
    output: str = ""
    """One sentence for the operator; no host, URL or secret."""


@dataclass(frozen=True, slots=True)
class Check:
    """A named question about whether this process can do its work.

    ``probe`` runs on the host's loop; a critical check that fails makes the process not ready (503), any
    other warns (200).
    """

    name: str
    """``component:measurement``, e.g. ``postgres:ping``."""

    probe: Callable[[], Awaitable[Reading | None]]
    """Must end when it is cancelled; None = ``pass``."""

    critical: bool = True
    """Whether the process is of no use while this fails."""

    timeout: float = 1.0
    """Seconds until the probe counts as failed."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigurationError("Check.name must not be empty")
        if self.timeout <= 0:
            raise ConfigurationError(f"Check.timeout must be above 0 seconds, not {self.timeout}")
