"""What a stored answer may still do for a request: RFC 9111, sections 4.2.4 and 5.2.1; RFC 5861; RFC 8246."""

from __future__ import annotations

from typing import Literal

from sipup_middleware.cache.client import Wish
from sipup_middleware.cache.stored import StoredResponse

__all__ = ("Use", "covers_errors", "use_of")

Use = Literal["send", "send and refresh", "ask"]


def use_of(stored: StoredResponse, age: float, wish: Wish | None) -> Use:
    """Return what to do with *stored* at *age* for a client with this *wish*.

    Who asks for freshness gets no stale answer while it is refreshed, but one that ``max-stale`` allows.
    """
    if wish is None:
        if age < stored.lifetime:
            return "send"
        return "send and refresh" if age < stored.lifetime + stored.swr else "ask"
    if wish.no_cache:
        return "ask"
    if stored.immutable and age < stored.lifetime:  # RFC 8246, section 2: a reload asks in vain
        return "send"
    accepted = wish.accepts(age, stored.lifetime, may_be_stale=not stored.never_stale)
    return "send" if accepted else "ask"


def covers_errors(stored: StoredResponse, age: float, wish: Wish | None) -> bool:
    """Say whether *stored* may be sent in place of an error: RFC 5861, section 4."""
    window = stored.sie if wish is None or wish.stale_if_error is None else wish.stale_if_error
    return not stored.never_stale and age < stored.lifetime + window
