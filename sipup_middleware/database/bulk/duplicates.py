"""Records of the same key in one bulk write: PostgreSQL refuses to touch a row twice in one statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sipup_middleware.database.bulk.asked import OnDuplicate
from sipup_middleware.database.bulk.records import Batch, Row

__all__ = ("Duplicates",)

Refuse = Callable[[int, str | None, str], None]


class Duplicates:
    """Takes one record of each key: the last, the first, or the first and refuses the others.

    The last is taken batch by batch, since the next batch updates what this one wrote. For the other two
    every key of the whole write is remembered. What only the server finds equal, it refuses.
    """

    def __init__(self, key: Sequence[str], columns: Sequence[str], rule: OnDuplicate) -> None:
        self.dropped = 0
        self._key = key
        self._places = [columns.index(column) for column in key]
        self._rule = rule
        self._seen: dict[Row, int] = {}

    def without(self, batch: Batch, refuse: Refuse) -> Batch:
        """Return *batch* with one record of each key."""
        kept: dict[object, int] = {}
        for place, row in enumerate(batch.rows):
            key = tuple(row[part] for part in self._places)
            if None in key:  # NULL equals nothing
                kept[object()] = place
            elif self._rule == "last":
                self.dropped += key in kept
                kept[key] = place
            elif self._is_new(key, batch.numbers[place], refuse):
                kept[key] = place
        order = sorted(kept.values())
        return Batch([batch.numbers[place] for place in order], [batch.rows[place] for place in order])

    def _is_new(self, key: Row, number: int, refuse: Refuse) -> bool:
        first = self._seen.setdefault(key, number)
        if first == number:
            return True
        if self._rule == "error":
            refuse(number, self._key[0] if len(self._key) == 1 else None, f"has the key of record {first}")
        else:
            self.dropped += 1
        return False
