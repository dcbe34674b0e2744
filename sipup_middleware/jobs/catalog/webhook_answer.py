"""What an endpoint's answer means for the webhook: no clock, no I/O."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from sipup_middleware.jobs.running import Discard, Retry

__all__ = ("judge",)

_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_SAYS_WHEN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_LONGEST_WAIT = 3600.0
_SECONDS = re.compile(r"[0-9]{1,10}", re.ASCII)


def judge(status: int, retry_after: str | None, *, now: float) -> None:
    """Return if the endpoint took it. Raises `Retry` or `Discard` if not.

    *retry_after* is the header of that name; *now* is in seconds since 1970.
    """
    kind = status // 100
    if kind == 2:  # noqa: PLR2004 (success)
        return
    if status == HTTPStatus.GONE:
        raise Discard("the endpoint is gone")
    if kind == 5 or status in _LATER:  # noqa: PLR2004 (its fault, and perhaps not for long)
        after = _wait(retry_after, now) if retry_after and status in _SAYS_WHEN else None
        raise Retry(f"the endpoint answered {status}", after=after)
    raise Discard(f"the endpoint answered {status}")


def _wait(retry_after: str, now: float) -> float | None:
    """Return the seconds that it asks for (RFC 9110, 10.2.3), at most an hour; None = it cannot be read."""
    said = retry_after.strip()
    if _SECONDS.fullmatch(said):
        return min(float(said), _LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(said)
    except (ValueError, OverflowError):
        return None
    at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return min(max(at - now, 0.0), _LONGEST_WAIT)
