"""What a user may say about the response cache, checked as it is said."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar, Literal

from starlette.types import ASGIApp, Scope

from sipup_middleware.cache.middleware import ResponseCacheMiddleware
from sipup_middleware.cache.policy import House
from sipup_middleware.cache.request import check_hosts
from sipup_middleware.cache.rules import Rule
from sipup_middleware.cache.status import CacheStatus
from sipup_middleware.cache.verifying import Verifier
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store import OpenStore, Store
from sipup_middleware.telemetry import Telemetry

__all__ = ("ResponseCache",)

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCache:
    """Answer again without asking the app: a shared HTTP cache (RFC 9111) in front of it."""

    store: Store = field(default_factory=Store)
    """Where the answers live; layers that share the object share what is stored."""

    rules: Sequence[Rule] = ()
    """Lifetimes for answers without explicit freshness; the first that matches counts. Where none does, only
    what the app declares is stored."""

    target: str | None = "sipup-cache-control"
    """A response field (RFC 9213) that counts for this cache in place of ``Cache-Control`` and ``Expires``,
    and is taken out of the answer. None = there is none."""

    vary_key: Callable[[Scope], bytes] | None = None
    """Gives what else tells requests apart, such as the tenant; becomes a part of the key."""

    allowed_hosts: Sequence[str] = ("*",)
    """Requests to another Host bypass the store; ``*.example.com`` stands for every name below it."""

    store_set_cookie: bool = False
    """Store also answers with ``Set-Cookie``, and send the cookie to everyone."""

    honor_client_cache_control: bool = False
    """Let ``no-cache``, ``max-age``, ``only-if-cached`` … of a request count (RFC 9111, section 5.2.1): then
    any client can have the app asked. ``no-store`` always counts."""

    max_entry: int = 2 << 20
    """Bytes; a longer body streams on and is not stored."""

    max_variants: int = 16
    """Answers kept of one URL whose answers Vary; the oldest goes."""

    stale_if_error: float = 60.0
    """Seconds after its lifetime in which a stored answer is sent in place of a 500, 502, 503, 504 or an
    exception, where the answer itself says nothing of it (RFC 5861)."""

    heuristic: float = 0.0
    """The lifetime of an answer that nothing else gives one, as a share of the time since its Last-Modified;
    at most a day, and not of a URL with a query. 0 = such answers are not stored; 0.1 is usual."""

    lock: bool = True
    """Of those who miss the same answer at once, one asks the app and the others wait for it."""

    name: str | None = "sipup"
    """How ``Cache-Status`` (RFC 9211) calls this cache; None = the field is not sent."""

    mode: Literal["on", "shadow"] = "on"
    """``shadow``: the app answers every request, and what the store would have answered is compared."""

    sample: float = 0.0
    """The share of hits, up to 1, for which the app is asked all the same, to compare."""

    provides: ClassVar[str] = "store"

    def __post_init__(self) -> None:
        for name in ("rules", "allowed_hosts"):
            if isinstance(getattr(self, name), str):
                raise ConfigurationError(f"ResponseCache.{name} takes a sequence, not a string")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for rule in self.rules:
            if not isinstance(rule, Rule):
                raise ConfigurationError(f"ResponseCache.rules takes Rule objects, not {rule!r}")
        self._check_numbers()
        self._check_names()

    def _check_names(self) -> None:
        if self.mode not in {"on", "shadow"}:
            raise ConfigurationError(f"ResponseCache.mode must be 'on' or 'shadow', not {self.mode!r}")
        if self.target is not None and not _NAME.fullmatch(self.target):
            raise ConfigurationError(f"ResponseCache.target must be a field name, not {self.target!r}")
        if self.vary_key is not None and not callable(self.vary_key):
            raise ConfigurationError("ResponseCache.vary_key must be a function of the scope")
        check_hosts(tuple(self.allowed_hosts))
        CacheStatus(self.name)

    def _check_numbers(self) -> None:
        for name in ("max_entry", "max_variants"):
            if getattr(self, name) < 1:
                raise ConfigurationError(
                    f"ResponseCache.{name} must be at least 1, not {getattr(self, name)}"
                )
        if not (isfinite(self.stale_if_error) and self.stale_if_error >= 0):
            raise ConfigurationError(
                f"ResponseCache.stale_if_error must be at least 0 seconds, not {self.stale_if_error}"
            )
        for name in ("heuristic", "sample"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(
                    f"ResponseCache.{name} must be from 0 to 1, not {getattr(self, name)}"
                )

    def __call__(self, app: ASGIApp, *, telemetry: Telemetry | None = None) -> ASGIApp:
        """Wrap *app*."""
        telemetry = telemetry or Telemetry()
        self.store.register(telemetry)
        shadows = self.mode == "shadow"
        return ResponseCacheMiddleware(
            app,
            store=self.store,
            rules=tuple(self.rules),
            target=self.target,
            vary_key=self.vary_key,
            allowed_hosts=tuple(self.allowed_hosts),
            house=House(
                heuristic=self.heuristic,
                stale_if_error=self.stale_if_error,
                store_set_cookie=self.store_set_cookie,
            ),
            honors_clients=self.honor_client_cache_control,
            max_entry=self.max_entry,
            max_variants=self.max_variants,
            lock=self.lock,
            name=self.name,
            verifier=Verifier(telemetry, shadows=shadows, sample=self.sample)
            if shadows or self.sample
            else None,
            telemetry=telemetry,
        )

    def open(self) -> AbstractAsyncContextManager[OpenStore]:
        """Open the store, outside any request: to purge by hand."""
        return self.store.open()
