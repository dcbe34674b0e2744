"""A store without a clock, a server or a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sipup_middleware.store.handle import OpenStore
from sipup_middleware.store.memory import Memory
from sipup_middleware.store.report import Report
from sipup_middleware.store.stamps import Stamps


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Text:
    """A codec for text; `weight` is what every value is said to weigh."""

    weight: int = 10

    def encode(self, value: str) -> tuple[object, bytes]:
        return {"kind": "text"}, value.encode()

    def decode(self, meta: Any, body: bytes) -> str:
        if meta["kind"] != "text":
            raise ValueError(meta)
        return body.decode()

    def size(self, value: str) -> int:
        return self.weight


TEXT = Text()


def open_store(
    *,
    max_bytes: int = 1 << 20,
    clock: Callable[[], float] | None = None,
    stamps: Stamps | None = None,
    report: Report | None = None,
) -> OpenStore:
    return OpenStore(Memory(max_bytes), stamps or Stamps(), None, report or Report(), clock=clock or Clock())
