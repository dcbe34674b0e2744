"""Tell what the cache did: RFC 9211."""

from __future__ import annotations

import re

from sipup_middleware.errors import ConfigurationError

__all__ = ("CacheStatus", "Told")

_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*")

Told = tuple[tuple[bytes, bytes], ...]
"""The field's line, or none."""


class CacheStatus:
    """Renders the ``Cache-Status`` of one cache, prebuilt as far as answers are alike."""

    def __init__(self, name: str | None) -> None:
        if name is not None and not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"name must be a structured-field token (RFC 9651), not {name!r}")
        self._name = name
        self._hit = f"{name}; hit; ttl=".encode() + b"%d"
        self._made: dict[tuple[str, str, str], Told] = {}

    def hit(self, age: float, remaining: float) -> Told:
        """Return the two fields of a stored answer: how old it is, and that it was one."""
        if self._name is None:
            return ((b"age", b"%d" % age),)
        return (b"age", b"%d" % age), (b"cache-status", self._hit % remaining)

    def forwarded(self, why: str, outcome: str = "", *, detail: str = "") -> Told:
        """Return the field of what the app answered.

        *why* is RFC 9211's ``fwd``; *outcome* is ``stored`` or nothing; *detail* says why not, in our words.
        """
        told = self._made.get((why, outcome, detail))
        return self._make(why, outcome, detail) if told is None else told

    def from_store(self, why: str, age: float, remaining: float, *, outcome: str = "", code: int = 0) -> Told:
        """Return the fields of a stored answer that was sent after the app was asked.

        *code* is the status that it answered with, 0 = none; *outcome* ``stored`` or ``collapsed``.
        """
        if self._name is None:
            return ((b"age", b"%d" % age),)
        text = "; ".join(
            part
            for part in (
                f"{self._name}; fwd={why}",
                f"fwd-status={code}" if code else "",
                outcome,
                f"ttl={int(remaining)}" if outcome != "collapsed" else "",
            )
            if part
        )
        return (b"age", b"%d" % age), (b"cache-status", text.encode())

    def refused(self, detail: str) -> Told:
        """Return the field of an answer of the cache's own."""
        return () if self._name is None else ((b"cache-status", f"{self._name}; detail={detail}".encode()),)

    def _make(self, why: str, outcome: str, detail: str) -> Told:
        if self._name is None:
            return ()
        text = f"{self._name}; fwd={why}"
        text += f"; {outcome}" if outcome else ""
        text += f"; detail={detail}" if detail else ""
        self._made[why, outcome, detail] = told = ((b"cache-status", text.encode()),)  # a few dozen
        return told
