"""Who counts, and the language that limits are written in: the only module that knows `limits`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from sipup_middleware.bridge import Home
from sipup_middleware.errors import ConfigurationError, MissingExtra
from sipup_middleware.ratelimit.backoff import Backoff
from sipup_middleware.ratelimit.policy import Decision, Rule
from sipup_middleware.redis_pool import SCHEMES

try:
    from limits import parse_many
    from limits.aio.storage import Storage
except ImportError as error:
    raise MissingExtra("ratelimit") from error

__all__ = ("MEMORY", "Remote", "Storage", "check_storage", "connect", "parse_rate")

MEMORY = "memory://"

_NO_PERIOD = re.compile(r"(/|per)\s*0+\s*[a-z]", re.IGNORECASE)


class Remote(Protocol):
    """A limiter on a server. Raises `StoreUnavailable`, and nothing else."""

    async def decide(self, asks: Sequence[tuple[Rule, str]]) -> Decision:
        """Count one request against every rule, or against none if one refuses."""

    async def count(self, asks: Iterable[tuple[Rule, str]]) -> None:
        """Count an answered request against the late rules among *asks*."""

    async def peek(self, asks: Iterable[tuple[Rule, str]]) -> list[Decision]:
        """Return what each rule would say now; count nothing."""

    async def reset(self, rule: Rule, name: str) -> None:
        """Count a client anew."""

    async def count_and_strike(self, asks: Iterable[tuple[Rule, str]], who: str, name: str) -> float:
        """Do so, and hold it against a client; return the seconds of the ban that it led to, or 0."""

    async def ban(self, who: str, name: str, seconds: float) -> None:
        """Refuse a client whatever it asks."""

    async def unban(self, who: str, name: str) -> None:
        """Let it in again."""

    async def ping(self) -> None:
        """Ask the server whether it answers."""

    async def aclose(self) -> None:
        """Close every connection."""


def parse_rate(text: str, *, option: str = "Limit.rate") -> tuple[int, int]:
    """Return the amount and the seconds of ``"100/minute"`` or ``"5 per 10 seconds"``.

    Raises `ConfigurationError` for anything else, several rates, an amount or a period of 0.
    """
    try:
        items = parse_many(text)
    except (TypeError, ValueError):
        items = []
    if len(items) != 1:
        raise ConfigurationError(f"{option} must be one rate like '100/minute', not {text!r}")
    if items[0].amount < 1 or _NO_PERIOD.search(text):
        raise ConfigurationError(f"{option} must have an amount and a period of at least 1, not {text!r}")
    return items[0].amount, items[0].get_expiry()


def check_storage(storage: Storage | str, rules: Iterable[Rule] = ()) -> None:
    """Raise `ConfigurationError` for what is no storage, or cannot count *rules*; connects to nothing."""
    if isinstance(storage, Storage):
        from sipup_middleware.ratelimit.foreign_windows import check_strategies  # noqa: PLC0415 (as below)

        return check_strategies(storage, rules)
    if not isinstance(storage, str):
        raise ConfigurationError(
            f"RateLimit.storage takes a URL or a storage of limits.aio, not {type(storage).__name__}"
        )
    return _check_url(storage)


def connect(
    home: Home,
    storage: Storage | str,
    rules: Sequence[Rule],
    *,
    timeout: float,
    backoff: Backoff | None = None,
) -> Remote | None:
    """Return the limiter for *storage*, not yet connected; None for `MEMORY`."""
    if isinstance(storage, Storage):
        from sipup_middleware.ratelimit.foreign import ForeignLimiter  # noqa: PLC0415 (as below)

        return ForeignLimiter(home, storage, rules, timeout=timeout, backoff=backoff)
    if storage == MEMORY:
        return None
    from sipup_middleware.ratelimit.redis import RedisLimiter  # noqa: PLC0415 (as below)

    return RedisLimiter(home, storage, rules, timeout=timeout, backoff=backoff)


def _check_url(url: str) -> None:
    scheme = url.partition("://")[0]
    if url == MEMORY:
        return
    if scheme not in SCHEMES or "://" not in url:
        known = ", ".join(f"{name}://" for name in ("memory", *SCHEMES))
        raise ConfigurationError(f"RateLimit.storage knows {known}; not {scheme!r}")
    from sipup_middleware.ratelimit.redis import check_url  # noqa: PLC0415 (only for those who name a server)

    check_url(url)
