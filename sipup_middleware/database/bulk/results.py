"""What a bulk write returns; a record that was not written is told by its place, never by its value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("BulkResult", "FailedRow")


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A record that was not written."""

    index: int
    """Its place among the records, from 0."""

    column: str | None
    """The column that it does not fit; None where the server names none."""

    reason: str
    """The type expected, or the kind of error and the constraint; never the value."""


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of the records."""

    inserted: int = 0
    updated: int = 0
    duplicates: int = 0
    """Dropped, since another of the same key was taken instead."""

    failed: tuple[FailedRow, ...] = ()
    """With ``on_error="collect"``: what was not written, and why."""
