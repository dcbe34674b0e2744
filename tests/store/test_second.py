"""The second tier behind its breaker, over backends with a script."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sipup_middleware.bridge import bridge
from sipup_middleware.errors import StoreUnavailable
from sipup_middleware.store.report import Report
from sipup_middleware.store.second import SecondTier
from sipup_middleware.telemetry import BackendLost, BackendRestored, Fact, Telemetry


@dataclass
class Scripted:
    """Answers each set with the next of *answers*, the last one for ever."""

    answers: list[bool | Exception]
    asked: list[str] = field(default_factory=list)

    async def get(self, key: str, /) -> bytes | None:
        return None

    async def set(self, key: str, data: bytes, ttl: float, /) -> bool:
        self.asked.append(key)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def delete(self, key: str, /) -> None: ...

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...


def over(answers: list[bool | Exception]) -> tuple[SecondTier, Telemetry, list[Fact]]:
    facts = list[Fact]()
    report, telemetry = Report(has_server=True), Telemetry([facts.append])
    report.add(telemetry)
    return SecondTier(Scripted(answers), bridge(), report), telemetry, facts


async def test_a_refused_value_is_counted_and_no_outage(anyio_backend: Any) -> None:
    second, telemetry, facts = over([False])

    for _ in range(20):
        await second.set("key", b"data", 60)

    assert telemetry.counter("store.refused").value == 20
    assert second.errors == 0
    assert not second.degraded
    assert not facts


async def test_a_refusal_is_an_answer_and_ends_a_row_of_errors(anyio_backend: Any) -> None:
    down = StoreUnavailable("ConnectionError")
    second, _, facts = over([*[down] * 4, False, *[down] * 4, True])

    for _ in range(10):
        await second.set("key", b"data", 60)

    assert second.errors == 8
    assert not facts, "never five in a row"


async def test_an_outage_is_told_once_and_asked_after_no_more(anyio_backend: Any) -> None:
    second, telemetry, facts = over([StoreUnavailable("ConnectionError")])

    for _ in range(20):
        await second.set("key", b"data", 60)

    assert facts == [BackendLost("store", "ConnectionError")]
    assert telemetry.counter("store.errors", op="set").value == 5
    assert telemetry.counter("store.refused").value == 0
    assert second.degraded

    await second.ping()
    assert facts[1:] == [BackendRestored("store")]
