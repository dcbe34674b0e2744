"""What was told of whom: a flood must not cost an observer a call a request."""

from __future__ import annotations

__all__ = ("MAX_TOLD", "Told")

MAX_TOLD = 32_768
"""Refusals that are remembered as told; one more, and all may be told again."""


class Told:
    """Refusals and bans that last; each is news once."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str, bool], int] = {}

    def is_new(self, what: tuple[str, str, bool], *, now: int, until: int) -> bool:
        """Say whether *what* was not told yet; from now on it was, *until* it is over (whole seconds)."""
        if now < self._until.get(what, 0):
            return False
        if len(self._until) >= MAX_TOLD:
            self._until.clear()
        self._until[what] = until
        return True
