"""Ask the checks: all at once, one question at a time each, and never for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from anyio import Event, create_task_group, move_on_after

from sipup_middleware.telemetry import Check, Reading, Telemetry

__all__ = ("Outcome", "Readiness", "verdict")

_FRESH = 1.0
_FRESH_FAILURE = 2.0
"""A server that is down is asked less often."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check."""

    check: Check
    reading: Reading
    until: float
    """When to ask again, on the telemetry's clock."""

    def document(self) -> dict[str, object]:
        """Return it in the words of draft-inadarei-api-health-check."""
        reading = self.reading
        shown: dict[str, object] = {"status": reading.status}
        if reading.value is not None:
            shown["observedValue"] = reading.value
        if reading.unit is not None:
            shown["observedUnit"] = reading.unit
        if reading.status != "pass" and reading.output:
            shown["output"] = reading.output
        if not self.check.critical:
            shown["critical"] = False
        return shown


def verdict(outcomes: Iterable[Outcome]) -> str:
    """Return ``fail`` if something critical failed, ``warn`` if anything else is not well, else ``pass``."""
    status = "pass"
    for outcome in outcomes:
        if outcome.reading.status == "fail" and outcome.check.critical:
            return "fail"
        if outcome.reading.status != "pass":
            status = "warn"
    return status


class Readiness:
    """The checks of one wrapped app, and their last outcomes."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._checks = telemetry.checks
        self._clock: Callable[[], float] = telemetry.clock
        self._outcomes: dict[str, Outcome] = {}
        self._asking: dict[str, Event] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Every check that can be asked, in the order registered."""
        return tuple(self._checks)

    async def ask(self, names: Iterable[str]) -> dict[str, Outcome]:
        """Return the outcome of each of these checks; one that is fresh is not asked again."""
        outcomes: dict[str, Outcome] = {}

        async def ask(check: Check) -> None:
            outcomes[check.name] = await self._ask(check)

        checks = [self._checks[name] for name in names]
        async with create_task_group() as tasks:
            for check in checks:
                if (known := self._fresh(check)) is not None:
                    outcomes[check.name] = known
                else:
                    tasks.start_soon(ask, check)
        return {check.name: outcomes[check.name] for check in checks}

    def _fresh(self, check: Check) -> Outcome | None:
        known = self._outcomes.get(check.name)
        return known if known is not None and self._clock() < known.until else None

    async def _ask(self, check: Check) -> Outcome:
        """Return a fresh outcome, from who is asking already if someone is."""
        with move_on_after(check.timeout):
            while (asking := self._asking.get(check.name)) is not None:
                await asking.wait()
                if (known := self._fresh(check)) is not None:
                    return known
        if asking is not None:
            return self._outcome(check, _too_slow(check))

        self._asking[check.name] = answered = Event()
        try:
            outcome = self._outcome(check, await _read(check))
            self._outcomes[check.name] = outcome
        finally:  # who asked may have been cancelled: the next in line asks
            self._asking.pop(check.name, None)
            answered.set()
        return outcome

    def _outcome(self, check: Check, reading: Reading) -> Outcome:
        fresh = _FRESH_FAILURE if reading.status == "fail" else _FRESH
        return Outcome(check, reading, self._clock() + fresh)


async def _read(check: Check) -> Reading:
    with move_on_after(check.timeout):
        try:
            reading: object = await check.probe()
        except Exception as error:  # noqa: BLE001 (whatever a probe raises is its answer)
            return Reading(status="fail", output=type(error).__name__)
        match reading:
            case None:
                return Reading()
            case Reading():
                return reading
        return Reading(status="fail", output=f"the probe returned {type(reading).__name__}, not a Reading")
    return _too_slow(check)


def _too_slow(check: Check) -> Reading:
    return Reading(status="fail", output=f"no answer within {check.timeout:g} s")
