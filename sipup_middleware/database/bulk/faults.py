"""What a driver's error says of the row that caused it; its text holds values, so none of it is passed on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sipup_middleware.errors import SipupError

__all__ = ("Fault", "FaultError", "telling_faults")

_CLASSES = ("22", "23")
"""Data exceptions, integrity constraint violations."""

_STATES = frozenset({"21000", "44000", "P0001"})
"""Cardinality (a key twice in one statement), a view's check option, what a trigger raises."""

_UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What the driver's encoders raise, beside an error of the server's class, by this state."""

_UNFIT_STATE = "22000"

_ARGUMENT = re.compile(
    r"(?:invalid input for )?query argument \$(\d+)(?: in element #(\d+) of executemany\(\) sequence)?:"
)
_CONTEXT = re.compile(r"^COPY .+, line (\d+)(?:, column (.+))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why some rows were refused, as far as it is known."""

    kind: str
    """The error's type, by name."""

    row: int | None = None
    """Its place in what was sent."""

    column: str | None = None
    place: int | None = None
    """The column's place, where its name is not known."""

    constraint: str | None = None
    of_client: bool = False
    """The value has not left the process: it is no value of the column's type."""

    @property
    def located(self) -> bool:
        """Whether it is known what in the row is wrong."""
        return self.column is not None or self.place is not None or self.constraint is not None

    @property
    def told(self) -> bool:
        """Whether there is nothing more to find out."""
        return self.row is not None and self.located


class FaultError(Exception):
    """Carries a `Fault` to whoever splits the batch; never leaves the package."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.kind)
        self.fault = fault


@contextmanager
def telling_faults(reached: Callable[[], int | None] = lambda: None) -> Iterator[None]:
    """Raise `FaultError` in place of an error that some row is to blame for.

    *reached* tells which row was being encoded, where the driver's error does not.
    """
    try:
        yield
    except Exception as error:
        fault = _fault(error, reached())
        if fault is None:
            raise
        raise FaultError(fault) from None


def _fault(error: Exception, reached: int | None) -> Fault | None:
    state: str | None = getattr(error, "sqlstate", None)
    if state is not None and getattr(error, "severity", None) is not None:  # the server's own words
        return _of_server(error, state)
    if isinstance(error, SipupError) or not (isinstance(error, _UNFIT) or state == _UNFIT_STATE):
        return None
    kind = type(error.__cause__ or error).__name__
    named = _ARGUMENT.match(str(error))
    if named is None:
        return Fault(kind, row=reached, of_client=True)
    row = int(named[2]) if named[2] else reached
    return Fault(kind, row=row, place=int(named[1]) - 1, of_client=True)


def _of_server(error: Exception, state: str) -> Fault | None:
    if state[:2] not in _CLASSES and state not in _STATES:
        return None
    *_, (line, column) = (("", ""), *_CONTEXT.findall(getattr(error, "context", None) or ""))
    return Fault(
        type(error).__name__,
        row=int(line) - 1 if line else None,
        column=getattr(error, "column_name", None) or column or None,
        constraint=getattr(error, "constraint_name", None),
    )
