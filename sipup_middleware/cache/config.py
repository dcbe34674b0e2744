"""What a user may say about the response cache, checked as it is said."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import ClassVar

from starlette.types import ASGIApp

from sipup_middleware.cache.middleware import ResponseCacheMiddleware
from sipup_middleware.cache.request import check_hosts
from sipup_middleware.cache.rules import Rule
from sipup_middleware.cache.status import CacheStatus
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store import OpenStore, Store
from sipup_middleware.telemetry import Telemetry

__all__ = ("ResponseCache",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCache:
    """Answer again without asking the app: a shared HTTP cache (RFC 9111) in front of it."""

    store: Store = field(default_factory=Store)
    """Where the answers live; layers that share the object share what is stored."""

    rules: Sequence[Rule] = ()
    """Lifetimes for answers without explicit freshness; the first that matches counts. Where none does, only
    what the app declares is stored."""

    allowed_hosts: Sequence[str] = ("*",)
    """Requests to another Host bypass the store; ``*.example.com`` stands for every name below it."""

    max_entry: int = 2 << 20
    """Bytes; a longer body streams on and is not stored."""

    max_variants: int = 16
    """Answers kept of one URL whose answers Vary; the oldest goes."""

    lock: bool = True
    """Of those who miss the same answer at once, one asks the app and the others wait for it."""

    name: str | None = "sipup"
    """How ``Cache-Status`` (RFC 9211) calls this cache; None = the field is not sent."""

    provides: ClassVar[str] = "store"

    def __post_init__(self) -> None:
        for name in ("rules", "allowed_hosts"):
            if isinstance(getattr(self, name), str):
                raise ConfigurationError(f"ResponseCache.{name} takes a sequence, not a string")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for rule in self.rules:
            if not isinstance(rule, Rule):
                raise ConfigurationError(f"ResponseCache.rules takes Rule objects, not {rule!r}")
        for name in ("max_entry", "max_variants"):
            if getattr(self, name) < 1:
                raise ConfigurationError(
                    f"ResponseCache.{name} must be at least 1, not {getattr(self, name)}"
                )
        check_hosts(tuple(self.allowed_hosts))
        CacheStatus(self.name)

    def __call__(self, app: ASGIApp, *, telemetry: Telemetry | None = None) -> ASGIApp:
        """Wrap *app*."""
        telemetry = telemetry or Telemetry()
        self.store.register(telemetry)
        return ResponseCacheMiddleware(
            app,
            store=self.store,
            rules=tuple(self.rules),
            allowed_hosts=tuple(self.allowed_hosts),
            max_entry=self.max_entry,
            max_variants=self.max_variants,
            lock=self.lock,
            name=self.name,
            telemetry=telemetry,
        )

    def open(self) -> AbstractAsyncContextManager[OpenStore]:
        """Open the store, outside any request: to purge by hand."""
        return self.store.open()
