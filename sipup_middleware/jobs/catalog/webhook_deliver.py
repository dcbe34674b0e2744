"""``webhook.deliver``: one event, signed, to an endpoint that a stranger may have named."""

from __future__ import annotations

import asyncio
import os
import string
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.jobs.catalog.guard import Guard, Resolve, Target, networks, resolve
from sipup_middleware.jobs.catalog.webhook_answer import judge
from sipup_middleware.jobs.catalog.webhook_signature import key_of, sign
from sipup_middleware.jobs.running import Discard, JobContext
from sipup_middleware.jobs.task import Task

if TYPE_CHECKING:
    from sipup_middleware.jobs.catalog.posting import Poster

__all__ = ("webhook",)

_SECRET = "SIPUP_WEBHOOK_SECRET"  # noqa: S105 (the name of the variable)


def webhook(
    secret: str | Callable[[str], str] | None = None,
    *,
    allow: Sequence[str] = (),
    timeout: float = 15,
    clock: Callable[[], float] = time.time,
    resolve: Resolve = resolve,
) -> Task:
    """Return the task ``webhook.deliver``.

    *secret*, ``whsec_`` and base64, signs as Standard Webhooks 1.0.0 says: one for all, or a function that
    returns the one of a URL without blocking; None = ``SIPUP_WEBHOOK_SECRET`` of the worker. *allow* names
    networks that are reached though they are not public, like ``10.1.0.0/16``. *timeout* is the seconds that
    an attempt may take. *clock* and *resolve* are for tests.

    The payload: ``url``, and ``event``, a dict or list. The endpoint gets the same bytes and ``webhook-id``
    at each attempt. 2xx is success; 408, 425, 429, 5xx and silence are retried, 429 and 503 when their
    Retry-After says (at most in an hour); whatever else is final, redirects too.
    """
    if isinstance(secret, str):
        try:
            key_of("webhook.secret", secret)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
    hook = _Webhook(
        secret=secret, guard=Guard(networks("webhook.allow", allow), resolve), timeout=timeout, clock=clock
    )
    return Task(hook.deliver, name="webhook.deliver", priority="high", timeout=timeout, check=hook.check)


def _poster() -> Poster:
    from sipup_middleware.jobs.catalog.posting import Poster  # noqa: PLC0415 (nobody who only enqueues pays for it)

    return Poster()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Webhook:
    secret: str | Callable[[str], str] | None = field(repr=False)
    guard: Guard
    timeout: float
    clock: Callable[[], float]
    poster: Callable[[], Poster] = field(default_factory=lambda: cache(_poster), repr=False)

    def check(self, payload: Mapping[str, Any]) -> None:
        """Raise `ValueError` that names what is wrong."""
        self._read(payload["url"], payload["event"])

    async def deliver(self, ctx: JobContext, url: str, event: dict[str, Any] | list[Any]) -> dict[str, int]:
        """Post it, once; return the status."""
        try:
            target = self._read(url, event)
        except ValueError as error:  # of a job that was never examined
            raise Discard(str(error)) from None
        body = orjson.dumps(event, option=orjson.OPT_SORT_KEYS)
        headers = self._headers(ctx, url, body)
        addresses = await self.guard.admit(target)
        poster = await asyncio.to_thread(self.poster)
        status, retry_after = await poster.post(
            target, addresses, headers=headers, body=body, timeout=self.timeout
        )
        judge(status, retry_after, now=self.clock())
        return {"status": status}

    def _read(self, url: object, event: object) -> Target:
        target = Target.read(url)
        self.guard.check(target)
        if not isinstance(event, (dict, list)):
            raise ValueError("event: must be an object or a list")  # noqa: TRY004 (a check raises ValueError)
        return target

    def _headers(self, ctx: JobContext, url: str, body: bytes) -> dict[str, str]:
        name, timestamp = quote(ctx.id, safe=string.punctuation), int(self.clock())
        try:
            signature = sign(self._secret_of(url), id=name, timestamp=timestamp, body=body)
        except ValueError:
            raise Discard(f"the webhook's secret, or {_SECRET}, must be whsec_ and base64") from None
        return {
            "content-type": "application/json",
            "user-agent": "sipup-middleware",
            "webhook-id": name,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature,
        }

    def _secret_of(self, url: str) -> str:
        if callable(self.secret):
            return self.secret(url)
        if not (secret := self.secret or os.environ.get(_SECRET)):
            raise Discard(f"{_SECRET} is not set, and webhook() was given no secret")
        return secret
