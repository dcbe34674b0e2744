"""What Cache-Control, or a field in its place, says to a shared cache: RFC 9111, section 5.2.2; RFC 5861."""

from __future__ import annotations

from functools import lru_cache

from sipup_middleware.cache.directives import Directives, delta_seconds, parse_directives, split_list
from sipup_middleware.cache.targeted import targeted_directives

__all__ = ("SILENCE", "Control", "control_of")

_LONGEST = 512
_NEVER_STALE = (b"must-revalidate", b"no-cache", b"proxy-revalidate", b"s-maxage")
_TO_ANY_CLIENT = (b"public", b"s-maxage", b"must-revalidate")


class Control:
    """Read once for all answers that say the same; never changed."""

    __slots__ = (
        "immutable",
        "lifetime",
        "must_understand",
        "never_stale",
        "no_cache",
        "no_store",
        "private",
        "public",
        "sie",
        "swr",
        "targeted",
        "to_any_client",
        "unlisted",
    )

    def __init__(self, directives: Directives, *, targeted: bool = False) -> None:
        self.targeted = targeted
        """Whether it is said in a field for us alone: then Expires does not count either."""
        whole = {name for name, argument in directives.items() if not argument}
        listed = [directives.get(name) or b"" for name in (b"no-cache", b"private")]
        self.unlisted = frozenset(name.lower() for names in listed for name in split_list(names))
        """The fields that ``no-cache`` and ``private`` list: they are not stored, the rest is."""
        self.no_cache = b"no-cache" in whole
        self.private = b"private" in whole
        self.no_store = b"no-store" in directives
        self.public = b"public" in directives
        self.immutable = b"immutable" in directives
        self.must_understand = b"must-understand" in directives
        self.to_any_client = any(name in directives for name in _TO_ANY_CLIENT)
        """Section 3.5: whether the answer to one with credentials may be shown to others."""
        self.never_stale = any(
            name in directives and (name != b"no-cache" or name in whole) for name in _NEVER_STALE
        )
        """Section 4.2.4: whether it may never be served stale."""
        self.lifetime = 0.0 if self.no_cache else _seconds(directives, b"s-maxage", b"max-age")
        """Seconds; 0 also for ``no-cache``: at each use the app is asked. None = nothing is said."""
        self.swr = _seconds(directives, b"stale-while-revalidate")
        self.sie = _seconds(directives, b"stale-if-error")


def control_of(lines: list[bytes], own: tuple[bytes, ...]) -> Control:
    """Return what the *lines* of Cache-Control say.

    Where the targeted field says anything valid in its *own* lines, it counts alone: RFC 9213, section 2.2.
    """
    if own and (targeted := targeted_directives(list(own))) is not None:
        return Control(targeted, targeted=True)
    if len(lines) == 1 and len(lines[0]) <= _LONGEST:
        return _remembered(lines[0])
    return Control(parse_directives(lines))


@lru_cache(maxsize=256)  # an app has few such values
def _remembered(line: bytes) -> Control:
    return Control(parse_directives([line]))


def _seconds(directives: Directives, *names: bytes) -> float | None:
    for name in names:
        if name in directives:
            return delta_seconds(directives[name])
    return None


SILENCE = Control({})
"""An answer that says nothing."""
