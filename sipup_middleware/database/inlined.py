"""Statements whose texts hold values where ``$1`` belongs: one day the value is what an attacker sent.

A constant never varies. So it is not a literal that gives such a statement away, but how many there have been
in its place. And each of these texts is parsed and planned anew.
"""

from __future__ import annotations

import re

from sipup_middleware.database.normal import normal
from sipup_middleware.telemetry import Telemetry, WarningRaised

__all__ = ("Inlined",)

_MANY = 50
"""Different values in one form of statement; more are no coincidence."""

_REMEMBERED = 2_000
"""Texts of a window; then a new one begins."""

_WARNED = 100
"""Forms that are warned of, at most, in the life of a process."""

_TAKES_PARAMETERS = re.compile(r"[\s(]*(?:select|insert|update|delete|merge|values|with)\b", re.IGNORECASE)


class Inlined:
    """Looks at each text that it has not seen."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._counter = telemetry.counter("database.inlined")
        self.texts: set[str] = set()
        """Seen in the present window."""
        self._forms: dict[str, set[int]] = {}
        """Hashes of the values seen in each form in the present window."""
        self._warned: set[str] = set()

    def look(self, sql: str) -> None:
        """Read a text that is not among `texts`."""
        if len(self.texts) >= _REMEMBERED:
            self.texts.clear()
            self._forms.clear()
        self.texts.add(sql)
        if _TAKES_PARAMETERS.match(sql):
            form, literals = normal(sql)
            if literals:
                self._count(form, hash(literals))

    def _count(self, form: str, values: int) -> None:
        seen = self._forms.setdefault(form, set())
        if values in seen:
            return
        seen.add(values)
        if len(seen) <= _MANY:
            return
        self._counter.add()
        if form not in self._warned and len(self._warned) < _WARNED:
            self._warned.add(form)
            self._telemetry.emit(
                WarningRaised(
                    "database", f"values are written into SQL, where $1 should stand for them: {form}"
                )
            )
