"""What a request's Cache-Control asks of a cache: RFC 9111, section 5.2.1; advice, unless it is honoured."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from sipup_middleware.cache.directives import delta_seconds, parse_directives

__all__ = ("Wish", "read_wish")

_LONG = 4096
"""Bytes; what takes longer to read is no advice."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which stored answers a client takes."""

    no_cache: bool = False
    """Only one that the app has confirmed just now (section 5.2.1.4)."""

    no_store: bool = False
    """What it is given is not to be stored (section 5.2.1.5)."""

    only_if_cached: bool = False
    """Rather 504 than the app (section 5.2.1.7)."""

    max_age: int | None = None
    """Seconds that it may be old (section 5.2.1.1)."""

    min_fresh: int | None = None
    """Seconds that it must still be fresh (section 5.2.1.3)."""

    max_stale: float | None = None
    """Seconds that it may be stale, infinity for any; None = none (section 5.2.1.2)."""

    stale_if_error: float | None = None
    """Seconds that it may be stale in place of an error; None = as the answer says (RFC 5861, section 4)."""

    def accepts(self, age: float, lifetime: float, *, may_be_stale: bool) -> bool:
        """Say whether an answer of this *age*, fresh for *lifetime* seconds, is good enough.

        A stale one is only where the client says ``max-stale``, and *may_be_stale*: nothing that the answer
        says forbids it (section 4.2.4). `no_cache` is not looked at.
        """
        if self.max_age is not None and age > self.max_age:
            return False
        if self.min_fresh is not None and lifetime - age < self.min_fresh:
            return False
        if age < lifetime:
            return True
        return may_be_stale and self.max_stale is not None and age - lifetime <= self.max_stale


def read_wish(lines: list[bytes]) -> Wish | None:
    """Return what the *lines* of Cache-Control ask for; None = nothing.

    What is no number is 0: a client that cannot spell gets nothing older than that.
    """
    given = parse_directives([line for line in lines if len(line) <= _LONG])
    wish = Wish(
        no_cache=b"no-cache" in given,
        no_store=b"no-store" in given,
        only_if_cached=b"only-if-cached" in given,
        max_age=delta_seconds(given[b"max-age"]) if b"max-age" in given else None,
        min_fresh=delta_seconds(given[b"min-fresh"]) if b"min-fresh" in given else None,
        max_stale=_max_stale(given[b"max-stale"]) if b"max-stale" in given else None,
        stale_if_error=delta_seconds(given[b"stale-if-error"]) if b"stale-if-error" in given else None,
    )
    return None if wish == _NOTHING else wish


def _max_stale(value: bytes | None) -> float:
    """Return the seconds; without an argument, any number of them."""
    return inf if value is None else delta_seconds(value)


_NOTHING = Wish()
