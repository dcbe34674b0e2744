from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from sipup_middleware import Plugin, PluginNotFound, plugin
from sipup_middleware.telemetry import Fact, Telemetry


class Quiet(Plugin):
    """Overrides nothing."""


class Loud(Plugin):
    """Neither does this."""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        EntryPoint(kind.__name__.lower(), f"{__name__}:{kind.__name__}", plugin.GROUP)
        for kind in (Quiet, Loud)
    ]
    monkeypatch.setattr(plugin, "entry_points", lambda group: entries if group == plugin.GROUP else [])


def test_only_named_plugins_are_active() -> None:
    assert plugin.load() == ()
    assert [type(loaded) for loaded in plugin.load("quiet")] == [Quiet]


def test_plugins_come_in_the_order_named() -> None:
    assert [type(loaded) for loaded in plugin.load("loud", "quiet", "loud")] == [Loud, Quiet, Loud]


def test_an_unknown_name_lists_what_is_installed() -> None:
    with pytest.raises(PluginNotFound, match="no plugin named 'quite'; installed: loud, quiet") as raised:
        plugin.load("quiet", "quite")

    assert raised.value.name == "quite"


def test_hooks_do_nothing_until_overridden() -> None:
    quiet = Quiet()
    quiet.observe(Fact())

    assert tuple(quiet.routes(Telemetry())) == ()
