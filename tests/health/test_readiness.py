"""Checks are asked in parallel, by one at a time, in bounded time; a clock decides what is fresh."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from sipup_middleware.health.readiness import Outcome, Readiness, verdict
from sipup_middleware.telemetry import Check, Reading, Telemetry


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scripted:
    """A probe that gives the scripted answer, and counts how often it was asked."""

    answer: Any = field(default_factory=Reading)
    asked: int = 0

    async def __call__(self) -> Reading:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]  # also what no probe should return


async def hang() -> Reading:
    await anyio.sleep_forever()
    raise AssertionError


def ready(*checks: Check, clock: Clock | None = None) -> Readiness:
    telemetry = Telemetry(clock=clock or Clock())
    for check in checks:
        telemetry.check(check)
    return Readiness(telemetry)


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([], "pass"),
        ([("pass", True), ("pass", False)], "pass"),
        ([("pass", True), ("fail", False)], "warn"),
        ([("warn", True)], "warn"),
        ([("fail", False), ("fail", True)], "fail"),
    ],
)
def test_only_what_is_critical_fails(readings: list[tuple[Any, bool]], expected: str) -> None:
    outcomes = [
        Outcome(Check("a", Scripted(), critical=critical), Reading(status=status), 0.0)
        for status, critical in readings
    ]

    assert verdict(outcomes) == expected


async def test_a_hundred_who_ask_at_once_make_one_probe() -> None:
    probe = Scripted()
    readiness = ready(Check("a", probe))
    outcomes: list[Outcome] = []

    async def ask() -> None:
        outcomes.append((await readiness.ask(["a"]))["a"])

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)

    assert probe.asked == 1
    assert {outcome.reading.status for outcome in outcomes} == {"pass"}
    assert len(outcomes) == 100


async def test_all_are_asked_in_parallel() -> None:
    both = 0

    async def meet() -> Reading:
        nonlocal both
        both += 1
        while both < 2:
            await anyio.lowlevel.checkpoint()
        return Reading()

    outcomes = await ready(Check("a", meet), Check("b", meet)).ask(["b", "a"])

    assert {name: outcome.reading.status for name, outcome in outcomes.items()} == {"b": "pass", "a": "pass"}
    assert list(outcomes) == ["b", "a"]


@pytest.mark.parametrize(("answer", "seconds"), [(Reading(), 1.0), (Reading(status="fail"), 2.0)])
async def test_an_answer_is_fresh_for_one_second_and_a_failure_for_two(
    answer: Reading, seconds: float
) -> None:
    clock, probe = Clock(), Scripted(answer)
    readiness = ready(Check("a", probe), clock=clock)

    await readiness.ask(["a"])
    clock.now += seconds - 0.01
    await readiness.ask(["a"])
    assert probe.asked == 1

    clock.now += 0.01
    await readiness.ask(["a"])
    assert probe.asked == 2


async def test_a_probe_that_hangs_fails_when_its_time_is_over_and_holds_up_nobody() -> None:
    readiness = ready(Check("slow", hang, timeout=0.05), Check("quick", Scripted()))

    with anyio.fail_after(5):
        outcomes = await readiness.ask(["slow", "quick"])

    assert outcomes["slow"].reading == Reading(status="fail", output="no answer within 0.05 s")
    assert outcomes["quick"].reading.status == "pass"


async def test_who_waits_for_another_s_probe_does_not_wait_longer_than_its_own_time() -> None:
    readiness = ready(Check("a", Scripted(), timeout=0.05))
    readiness._asking["a"] = anyio.Event()  # of someone who never comes back

    with anyio.fail_after(5):
        outcomes = await readiness.ask(["a"])

    assert outcomes["a"].reading.status == "fail"


async def test_when_who_asks_is_cancelled_the_next_in_line_asks() -> None:
    asked, outcomes = 0, dict[str, Outcome]()

    async def hang_once() -> Reading:
        nonlocal asked
        asked += 1
        if asked == 1:
            await anyio.sleep_forever()
        return Reading()

    readiness = ready(Check("a", hang_once, timeout=30))

    async def follow() -> None:
        outcomes.update(await readiness.ask(["a"]))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as followers, anyio.create_task_group() as leader:
            leader.start_soon(readiness.ask, ["a"])
            while not asked:
                await anyio.lowlevel.checkpoint()
            followers.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            leader.cancel_scope.cancel()

    assert outcomes["a"].reading.status == "pass"
    assert asked == 2


@pytest.mark.parametrize(
    ("answer", "reading"),
    [
        (ConnectionError("postgresql://user:secret@host"), Reading(status="fail", output="ConnectionError")),
        (None, Reading()),
        (True, Reading(status="fail", output="the probe returned bool, not a Reading")),
        (Reading(2.5, "ms"), Reading(2.5, "ms")),
    ],
)
async def test_whatever_a_probe_does_is_an_answer(answer: Any, reading: Reading) -> None:
    outcomes = await ready(Check("a", Scripted(answer))).ask(["a"])

    assert outcomes["a"].reading == reading


@pytest.mark.parametrize(
    ("check", "reading", "document"),
    [
        (
            Check("a", Scripted()),
            Reading(0.8, "ms"),
            {"status": "pass", "observedValue": 0.8, "observedUnit": "ms"},
        ),
        (Check("a", Scripted()), Reading(output="idle"), {"status": "pass"}),
        (
            Check("a", Scripted(), critical=False),
            Reading(status="fail", output="OSError"),
            {"status": "fail", "output": "OSError", "critical": False},
        ),
    ],
)
def test_an_outcome_speaks_health_json(check: Check, reading: Reading, document: dict[str, Any]) -> None:
    assert Outcome(check, reading, 0.0).document() == document
