"""What a job looks like to its broker, and when it runs again: no clock, no I/O, no ASGI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import orjson

from sipup_middleware.errors import ConfigurationError

__all__ = (
    "DEAD_FOR",
    "LARGEST_PAYLOAD",
    "PRIORITIES",
    "Backoff",
    "NewJob",
    "Priority",
    "delay_before",
    "describe",
    "rank",
)

Priority = Literal["high", "normal", "low"]
Backoff = tuple[float, float, float]
"""Seconds before the first retry, what each further one multiplies them by, and the most they become."""

PRIORITIES: dict[Priority, int] = {"high": 10, "normal": 20, "low": 30}
"""SAQ's numbers: lower runs first."""

LARGEST_PAYLOAD = 256 << 10
"""Bytes of JSON."""

DEAD_FOR = 30 * 86_400
"""Seconds that a job is kept which has failed for good."""

_KEPT_FOR = 600
"""Seconds that the result of a job can be asked for."""

_SPREAD = 0.25
_LATE = 5
"""Seconds beyond a job's own timeout after which SAQ takes it for stuck."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job on its way to the broker."""

    key: str
    document: bytes
    """What SAQ reads: the fields of its ``Job``, as JSON."""

    rank: int
    due: int
    """Seconds since the epoch; 0 = at once."""


def rank(priority: int) -> Priority:
    """Return the priority that a number of SAQ's stands for, whoever enqueued it."""
    for name, least in PRIORITIES.items():
        if priority <= least:
            return name
    return "low"


def delay_before(backoff: Backoff, attempt: int, drawn: float) -> float:
    """Return the seconds between *attempt*, from 1, and the next; *drawn*, 0 to 1, spreads them by 25 %."""
    first, factor, longest = backoff
    return min(first * factor ** (attempt - 1), longest) * (1 - _SPREAD + 2 * _SPREAD * drawn)


def describe(  # noqa: PLR0913 (what makes a job)
    name: str,
    payload: Mapping[str, Any],
    *,
    key: str,
    queue: str,
    priority: Priority,
    retries: int,
    timeout: float,
    now: float,
    delay: float,
    meta: Mapping[str, str],
) -> NewJob:
    """Write a job down as SAQ 0.26 reads it.

    Raises `ConfigurationError` for what cannot be told as JSON, or is larger than `LARGEST_PAYLOAD`.
    """
    if priority not in PRIORITIES:
        raise ConfigurationError(f"priority must be one of {', '.join(get_args(Priority))}, not {priority!r}")
    if not 0 <= delay < float("inf"):
        raise ConfigurationError(f"delay must be 0 seconds or more, not {delay}")
    due = -int(-(now + delay) // 1) if delay else 0
    fields = {
        "function": name,
        "kwargs": orjson.Fragment(_told(name, payload)),
        "queue": queue,
        "key": key,
        "timeout": timeout + _LATE,
        "retries": 1 + retries,
        "ttl": _KEPT_FOR,
        "scheduled": due,
        "queued": int(now * 1000),
        "status": "queued",
        "priority": PRIORITIES[priority],
        "meta": meta,
    }
    return NewJob(key, orjson.dumps(fields), PRIORITIES[priority], due)


def _told(name: str, payload: Mapping[str, Any]) -> bytes:
    try:
        told = orjson.dumps(payload)
    except TypeError as error:
        raise ConfigurationError(f"the payload of {name} must be JSON: {error}") from None
    if len(told) > LARGEST_PAYLOAD:
        raise ConfigurationError(
            f"the payload of {name} has {len(told)} bytes, and {LARGEST_PAYLOAD} may be: pass a reference"
        )
    return told
