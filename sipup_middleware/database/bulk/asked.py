"""What a bulk write may be asked for, checked as it is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sipup_middleware.errors import ConfigurationError

__all__ = ("BATCH", "Asked", "Clash", "OnDuplicate", "OnError", "Progress")

BATCH = 5_000
"""Records that are held at a time: encoding them keeps other tasks of the loop waiting for some 10 ms."""

OnDuplicate = Literal["last", "first", "error"]
OnError = Literal["raise", "collect"]
Progress = Callable[[int, int | None], object]
"""Called after each batch with the records done and, where that is known, how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What every bulk write may be told."""

    columns: Sequence[str] | None = None
    on_error: OnError = "raise"
    batch: int = BATCH
    progress: Progress | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigurationError(f"batch must be at least 1, not {self.batch}")
        if self.on_error not in get_args(OnError):
            raise ConfigurationError(f"on_error must be raise or collect, not {self.on_error!r}")


@dataclass(frozen=True, slots=True)
class Clash:
    """Which records are the same, and what happens to those that are there."""

    key: Sequence[str]
    update: Sequence[str] | None = None
    on_duplicate: OnDuplicate = "last"

    def __post_init__(self) -> None:
        key = (self.key,) if isinstance(self.key, str) else tuple(self.key)
        object.__setattr__(self, "key", key)
        if not key:
            raise ConfigurationError("key must name at least one column")
        if isinstance(self.update, str):
            raise ConfigurationError(f"update must be a sequence of columns, not the text {self.update!r}")
        if self.on_duplicate not in get_args(OnDuplicate):
            raise ConfigurationError(f"on_duplicate must be last, first or error, not {self.on_duplicate!r}")

    def updated(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return the columns to update; raises `ConfigurationError` for one that the records lack."""
        for name, asked in (("key", self.key), ("update", self.update or ())):
            if unknown := [column for column in asked if column not in columns]:
                raise ConfigurationError(f"{name} names the column {unknown[0]!r}, which the records lack")
        if self.update is None:
            return tuple(column for column in columns if column not in self.key)
        return tuple(self.update)
