"""Tell what the cache did: RFC 9211."""

from __future__ import annotations

import re

from sipup_middleware.errors import ConfigurationError

__all__ = ("CacheStatus",)

_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*")
_Fields = tuple[tuple[bytes, bytes], ...]


class CacheStatus:
    """Renders the ``Cache-Status`` of one cache, prebuilt as far as answers are alike."""

    def __init__(self, name: str | None) -> None:
        if name is not None and not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"name must be a structured-field token (RFC 8941), not {name!r}")
        self._name = name
        self._hit = f"{name}; hit; ttl=".encode() + b"%d"
        self._made: dict[str, _Fields] = {}

    def hit(self, age: float, remaining: float) -> _Fields:
        """Return the two fields of a stored answer: how old it is, and that it was one."""
        if self._name is None:
            return ((b"age", b"%d" % age),)
        return (b"age", b"%d" % age), (b"cache-status", self._hit % remaining)

    def forwarded(self, why: str, outcome: str = "") -> _Fields:
        """Return the field of what the app answered; *outcome* is ``stored``, ``collapsed`` or nothing."""
        if self._name is None:
            return ()
        text = f"{self._name}; fwd={why}; {outcome}".removesuffix("; ")
        if text not in self._made:  # one of a dozen
            self._made[text] = ((b"cache-status", text.encode()),)
        return self._made[text]
