"""Who counts, and the language that limits are written in: the only module that knows `limits`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from sipup_middleware.bridge import Home
from sipup_middleware.errors import ConfigurationError, MissingExtra
from sipup_middleware.ratelimit.policy import Decision, Rule
from sipup_middleware.redis_pool import SCHEMES

try:
    from limits import parse_many
except ImportError as error:
    raise MissingExtra("ratelimit") from error

__all__ = ("MEMORY", "Remote", "check_storage", "connect", "parse_rate")

MEMORY = "memory://"

_NO_PERIOD = re.compile(r"(/|per)\s*0+\s*[a-z]", re.IGNORECASE)


class Remote(Protocol):
    """A limiter on a server. Raises `StoreUnavailable`, and nothing else."""

    async def decide(self, asks: Sequence[tuple[Rule, str]]) -> Decision:
        """Count one request against every rule, or against none if one refuses."""

    async def ping(self) -> None:
        """Ask the server whether it answers."""

    async def aclose(self) -> None:
        """Close every connection."""


def parse_rate(text: str) -> tuple[int, int]:
    """Return the amount and the seconds of ``"100/minute"`` or ``"5 per 10 seconds"``.

    Raises `ConfigurationError` for anything else, several rates, an amount or a period of 0.
    """
    try:
        items = parse_many(text)
    except ValueError:
        items = []
    if len(items) != 1:
        raise ConfigurationError(f"Limit.rate must be one rate like '100/minute', not {text!r}")
    if items[0].amount < 1 or _NO_PERIOD.search(text):
        raise ConfigurationError(f"Limit.rate must have an amount and a period of at least 1, not {text!r}")
    return items[0].amount, items[0].get_expiry()


def check_storage(url: str) -> None:
    """Raise `ConfigurationError` for a *url* that names no storage; connects to nothing."""
    scheme = url.partition("://")[0]
    if url == MEMORY:
        return
    if scheme not in SCHEMES or "://" not in url:
        known = ", ".join(f"{name}://" for name in ("memory", *SCHEMES))
        raise ConfigurationError(f"RateLimit.storage knows {known}; not {scheme!r}")
    from sipup_middleware.ratelimit.redis import check_url  # noqa: PLC0415 (only for those who name a server)

    check_url(url)


def connect(home: Home, url: str, rules: Sequence[Rule], *, timeout: float) -> Remote | None:
    """Return the limiter for *url*, not yet connected; None for `MEMORY`."""
    if url == MEMORY:
        return None
    from sipup_middleware.ratelimit.redis import RedisLimiter  # noqa: PLC0415 (as above)

    return RedisLimiter(home, url, rules, timeout=timeout)
