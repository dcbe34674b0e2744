"""A job as SAQ hands it over, and a database that counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sipup_middleware.database import Facade

__all__ = ("Counting", "Given")


@dataclass
class Given:
    """SAQ's job, written down nowhere: it remembers what became of it."""

    function: str = "work"
    key: str = "k1"
    attempts: int = 1
    retries: int = 4
    retry_delay: float = 0.0
    scheduled: int = 0
    touched: int = 0
    meta: dict[str, str] = field(default_factory=dict)
    ends: list[tuple[str, str]] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)

    @property
    def retryable(self) -> bool:
        return self.retries > self.attempts

    async def retry(self, error: str) -> None:
        self.ends.append(("retry", error))

    async def finish(self, status: str, *, error: str) -> None:
        self.ends.append((str(getattr(status, "value", status)), error))

    async def update(self, *, progress: float) -> None:
        self.progress.append(progress)


@dataclass
class Counting:
    """A facade that counts its statements."""

    db: Facade
    statements: int = 0

    @property
    def database(self) -> tuple[str, str, str]:
        return self.db.database

    @property
    def in_transaction(self) -> bool:
        return self.db.in_transaction

    async def fetch(self, sql: str, *args: object, timeout: float | None = None) -> list[Any]:  # noqa: ASYNC109 (the facade's signature)
        self.statements += 1
        return await self.db.fetch(sql, *args, timeout=timeout)
