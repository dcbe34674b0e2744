"""What a user may say about health, checked as it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from inspect import iscoroutinefunction
from typing import Literal

from starlette.types import ASGIApp, Scope

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.health.access import Access
from sipup_middleware.health.middleware import HealthMiddleware
from sipup_middleware.telemetry import Check, Telemetry

__all__ = ("Health",)

_VERSION = version("sipup-middleware")
"""Read as the module is: hosts wrap their app as late as the first request, where no file should be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Answer probes under *path*, and measure every other request. The outermost layer."""

    path: str = field(default="/_health", kw_only=False)
    """Where the pages are; compared after ``root_path``, by whole segments."""

    access: Literal["local"] | Callable[[Scope], bool] = "local"
    """Who sees details and metrics: ``local``, a loopback peer whose request no proxy has marked
    (``Forwarded``, ``X-Forwarded-*``, ``X-Real-IP``, ``Via``), or a function of the ASGI scope that returns
    True. Behind a proxy on the same machine that leaves no mark, everyone is local: give a function."""

    token: str | None = field(default=None, repr=False)
    """Who presents it as ``Authorization: Bearer`` sees them too; None = no token does."""

    checks: tuple[Check, ...] = ()
    """What readiness asks beyond the layers' own; each ``Check(name, probe, critical=True, timeout=1)``."""

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or self.path.endswith("/"):
            raise ConfigurationError(
                f"Health.path must begin with a slash and not end with one, not {self.path!r}"
            )
        access: object = self.access
        if access != "local" and (not callable(access) or iscoroutinefunction(access)):
            raise ConfigurationError(
                f"Health.access must be 'local' or a plain function of the scope, not {access!r}"
            )
        if self.token is not None and (not self.token or self.token != self.token.strip()):
            raise ConfigurationError(
                "Health.token must not be empty or have space around it; None = no token"
            )
        object.__setattr__(self, "checks", tuple(self.checks))
        names = [check.name for check in self.checks]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"Health.checks must have names of their own, not {names}")

    def __call__(self, app: ASGIApp, *, telemetry: Telemetry | None = None) -> ASGIApp:
        """Wrap *app*."""
        telemetry = telemetry or Telemetry()
        for check in self.checks:
            telemetry.check(check)
        return HealthMiddleware(
            app,
            path=self.path,
            access=Access(rule=self.access, token=self.token),
            telemetry=telemetry,
            version=_VERSION,
        )
