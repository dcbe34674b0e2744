"""The one door through which other packages extend this one."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points

from starlette.routing import BaseRoute

from sipup_middleware.errors import PluginNotFound
from sipup_middleware.telemetry import Fact, Telemetry

__all__ = ("GROUP", "Plugin", "load")

GROUP = "sipup_middleware.plugins"


class Plugin:
    """Base of every plugin: each hook does nothing until overridden."""

    def observe(self, fact: Fact, /) -> None:
        """Hear about *fact*. Called on the request path: be quick, never block."""

    def routes(self, telemetry: Telemetry, /) -> Iterable[BaseRoute]:  # noqa: ARG002 (the hook's signature)
        """Return routes to add to the sub-app at ``/_health``; they read *telemetry*."""
        return ()


def load(*names: str) -> tuple[Plugin, ...]:
    """Build the named plugins, in the order named.

    Installing a plugin makes it available; only naming it here makes it active. Raises `PluginNotFound`.
    """
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    for name in names:
        if name not in installed:
            raise PluginNotFound(name, sorted(installed))
    return tuple(installed[name].load()() for name in names)
