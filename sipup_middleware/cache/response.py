"""What a handler may say about the storing of its response."""

from __future__ import annotations

from math import isfinite

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store import TagSet

__all__ = ("ResponseControl",)


class ResponseControl:
    """Stands in ``request.state.sipup.response``; each method returns it, so that they chain.

    For example::

        request.state.sipup.response.tag("product:7").ttl(60)

    It must be told before the response starts, except for its tags, which count until the response ends.
    """

    __slots__ = ("_tags", "bypassed", "lifetime", "stale_for")

    def __init__(self, tags: TagSet | None) -> None:
        self._tags = tags
        self.lifetime: float | None = None
        """Seconds that the handler set."""
        self.stale_for: float | None = None
        """Seconds, likewise."""
        self.bypassed = False

    def tag(self, *names: str) -> ResponseControl:
        """Purge this response too when one of *names* is purged."""
        if self._tags is not None:
            self._tags.add(*names)
        return self

    def ttl(self, seconds: float) -> ResponseControl:
        """Keep this response for *seconds* whatever its headers and the rules say; 0 = do not.

        ``private``, ``no-store``, ``no-cache``, Set-Cookie and ``Vary: *`` still forbid to.
        """
        self.lifetime = _checked("ttl", seconds)
        return self

    def stale(self, seconds: float) -> ResponseControl:
        """Serve this response *seconds* longer while a new one is made; must-revalidate forbids it."""
        self.stale_for = _checked("stale", seconds)
        return self

    def bypass(self) -> ResponseControl:
        """Do not store this response."""
        self.bypassed = True
        return self


def _checked(name: str, seconds: float) -> float:
    if not isfinite(seconds) or seconds < 0:
        raise ConfigurationError(f"{name} must be at least 0 seconds, not {seconds}")
    return seconds
