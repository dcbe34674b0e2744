"""What may be stored, for how long and for whom: RFC 9111, section 3. No clock, no I/O, no ASGI."""

from __future__ import annotations

from dataclasses import dataclass

from sipup_middleware.cache.answer import Answer
from sipup_middleware.cache.freshness import freshness_lifetime, heuristic_lifetime, retention
from sipup_middleware.cache.request import AUTHORIZATION, COOKIE, QUERY
from sipup_middleware.cache.vary import vary_fields

__all__ = ("House", "Said", "Terms", "settle")

_FIRST_FINAL = 200
_NEVER = frozenset({206, 304, 428, 429, 431, 511})
"""Not the whole, no answer at all, and what RFC 6585 says must not be stored."""

_FIRST_ERROR = 400
_RULED = frozenset({200, 203, 204, 300, 301, 308, 410})
_UNDERSTOOD = _RULED | {302, 303, 307, 400, 401, 403, 404, 405, 414, 421, 451, 500, 501, 502, 503, 504}


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What a layer allows to every answer."""

    heuristic: float = 0.0
    stale_if_error: float = 0.0
    store_set_cookie: bool = False


@dataclass(slots=True)  # not frozen: that costs a microsecond a response
class Said:
    """What else than the response tells how long it lives."""

    lifetime: float | None = None
    """The handler's word, before what the response declares."""

    stale: float | None = None
    """The handler's word on how long it may be served stale while it is made anew."""

    ruled: float | None = None
    """A rule's lifetime, where nothing is declared."""

    ruled_stale: float = 0.0


class Terms:
    """On which a response is stored."""

    __slots__ = ("age", "immutable", "lifetime", "never_stale", "refuses", "sie", "swr", "until", "vary")

    def __init__(self, lifetime: float, age: float, refuses: int, vary: tuple[bytes, ...]) -> None:
        self.lifetime = lifetime
        """Seconds that it is fresh, from when it was made."""
        self.age = age
        """Seconds that have passed of these."""
        self.refuses = refuses
        """Flags of the requests that it must not be shown to."""
        self.vary = vary
        self.swr = self.sie = 0.0
        """Seconds after its lifetime in which it may be served while it is made anew, and on an error."""
        self.never_stale = self.immutable = False
        self.until = lifetime
        """Seconds that it is worth keeping, from when it was made."""


def settle(  # noqa: PLR0913 (all that is known, in one place)
    answer: Answer, flags: int, said: Said, house: House, *, now: float, age: float
) -> Terms | str:
    """Return the terms on which *answer* may be stored; else why it may not.

    *flags* are the request's, *age* the answer's on arrival.
    """
    if reason := _forbidden(answer, flags, house):
        return reason
    vary = vary_fields(answer.lines[b"vary"]) if b"vary" in answer.lines else ()
    if vary is None:
        return "vary"
    control = answer.control
    declared = freshness_lifetime(answer, now)
    if said.lifetime is not None and not control.no_cache:
        declared = said.lifetime
    lifetime = _undeclared(answer, flags, said, house, now) if declared is None else declared
    if lifetime is None:
        return "undeclared"
    refuses = 0 if control.to_any_client else AUTHORIZATION
    terms = Terms(lifetime, age, refuses | (COOKIE if declared is None else 0), vary)
    _allow_stale(terms, answer, said, house, ruled=declared is None)
    wanted = lifetime or (said.lifetime is None and declared is not None)
    return terms if wanted and terms.until > age else "stale"


def _undeclared(answer: Answer, flags: int, said: Said, house: House, now: float) -> float | None:
    """Return what a rule, else a guess, gives an answer that says nothing, to a request of nobody."""
    if flags & (COOKIE | AUTHORIZATION):
        return None
    if said.ruled is not None:
        return said.ruled if answer.status in _RULED else None
    return heuristic_lifetime(answer, now, share=house.heuristic, has_query=bool(flags & QUERY))


def _allow_stale(terms: Terms, answer: Answer, said: Said, house: House, *, ruled: bool) -> None:
    """Set the windows of RFC 5861, and how long the answer is worth keeping."""
    lifetime, control = terms.lifetime, answer.control
    terms.immutable = control.immutable
    terms.never_stale = control.never_stale
    longest = retention(answer, lifetime)
    if not control.never_stale:
        swr, sie = control.swr, control.sie
        if sie is None:
            sie = house.stale_if_error if lifetime > terms.age else 0.0
        if said.stale is not None:
            swr = said.stale
        elif swr is None:
            swr = said.ruled_stale if ruled else 0.0
        terms.swr, terms.sie = swr, sie
        longest = max(longest, swr, sie)
    terms.until = lifetime + longest


def _forbidden(answer: Answer, flags: int, house: House) -> str | None:
    """Return what forbids a shared cache to store this: RFC 9111, section 3, and Set-Cookie."""
    status, control, lines = answer.status, answer.control, answer.lines
    if status < _FIRST_FINAL or status in _NEVER or answer.length == -1 or b"content-range" in lines:
        return "status"
    if flags & AUTHORIZATION and (not control.to_any_client or status >= _FIRST_ERROR):
        return "authorization"  # what is wrong may be the credentials: others have none, or their own
    if control.must_understand and status not in _UNDERSTOOD:
        return "status"
    if control.no_store and not control.must_understand:  # section 5.2.2.3
        return "no-store"
    if control.private:
        return "private"
    sets_cookie = b"set-cookie" in lines and b"set-cookie" not in control.unlisted
    forbids = sets_cookie and not house.store_set_cookie
    return "set-cookie" if forbids else None if answer.is_clean else "field"
