"""Many layers make one, in the order written, whatever mounts them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware import (
    ConfigurationError,
    Database,
    Jobs,
    Plugin,
    PluginNotFound,
    RateLimit,
    ResponseCache,
    Settings,
    Stack,
    job,
    plugin,
)
from sipup_middleware.jobs import JobContext
from sipup_middleware.telemetry import BackendLost, Fact, Telemetry
from tests.asgi import get, hello


@dataclass(frozen=True)
class Named:
    """A layer that writes its name down on the way in and on the way out, and tells a fact."""

    name: str
    log: list[str] = field(default_factory=list, compare=False, repr=False)

    def __call__(self, app: ASGIApp, *, telemetry: Telemetry | None = None) -> ASGIApp:
        telemetry = telemetry or Telemetry()

        async def middleware(*args: Any) -> None:
            self.log.append(f"{self.name} in")
            await app(*args)
            telemetry.emit(BackendLost(self.name, "Test"))
            self.log.append(f"{self.name} out")

        return middleware


@dataclass(frozen=True)
class Holds:
    """A layer with a resource."""

    provides: ClassVar[str] = "db"
    log: list[str] = field(default_factory=list, compare=False)

    def __call__(self, app: ASGIApp, *, telemetry: Telemetry | None = None) -> ASGIApp:
        return app

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        self.log.append("open")
        yield "the facade"
        self.log.append("close")


class Shouts:
    """A plain Starlette middleware, which knows no telemetry."""

    def __init__(self, app: ASGIApp, *, word: bytes) -> None:
        self.app, self.word = app, word

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def shout(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-word", self.word)]}
            await send(message)

        await self.app(scope, receive, shout)


class Listener(Plugin):
    def __init__(self) -> None:
        self.heard: list[Fact] = []

    def observe(self, fact: Fact, /) -> None:
        self.heard.append(fact)

    def routes(self, telemetry: Telemetry, /) -> list[Route]:
        return [Route("/heard", hello)]


async def test_the_first_layer_is_the_outermost() -> None:
    log: list[str] = []

    await get(Stack(Named("a", log), Stack(Named("b", log), Named("c", log)))(hello))

    assert log == ["a in", "b in", "c in", "c out", "b out", "a out"]


async def test_an_empty_stack_is_the_app() -> None:
    assert Stack()(hello) is hello


async def test_starlettes_middleware_stands_among_the_layers() -> None:
    log: list[str] = []

    reply = await get(Stack(Named("a", log), Middleware(Shouts, word=b"hey"), Named("b", log))(hello))

    assert (reply.headers["x-word"], log) == ("hey", ["a in", "b in", "b out", "a out"])


async def test_all_layers_of_a_wrapping_share_one_telemetry() -> None:
    outer, inner = Listener(), Listener()
    nested = Stack(Named("b"), plugins=[inner], log=False)

    await get(Stack(nested, Named("a"), plugins=[outer], log=False)(hello))

    assert outer.heard == inner.heard == [BackendLost("a", "Test"), BackendLost("b", "Test")]


async def test_two_wrappings_do_not_hear_each_other() -> None:
    listener, telemetry = Listener(), Telemetry()
    telemetry.observe(listener.observe)
    stack = Stack(Named("a"), log=False)
    stack(hello, telemetry=telemetry)

    await get(stack(hello))

    assert listener.heard == []


def test_a_plugin_brings_its_routes_to_the_telemetry() -> None:
    telemetry = Telemetry()

    Stack(plugins=[Listener()])(hello, telemetry=telemetry)

    assert [getattr(route, "path", None) for route in telemetry.routes] == ["/heard"]


def test_plugins_are_named_or_handed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "load", lambda *names: [Plugin() for _ in names])
    listener = Listener()

    stack = Stack(plugins=("quiet", listener))

    assert [type(each) for each in stack.plugins] == [Plugin, Listener]
    assert len(Stack(plugins="quiet").plugins) == 1


def test_an_unknown_plugin_is_refused_at_once() -> None:
    with pytest.raises(PluginNotFound):
        Stack(plugins=("no-such-plugin",))


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "sipup_middleware"]


async def test_facts_are_logged_once_however_stacks_nest(caplog: pytest.LogCaptureFixture) -> None:
    await get(Stack(Stack(Stack(Named("a"))))(hello))

    assert ours(caplog) == ["a: its server does not answer (Test)"]


async def test_a_stack_can_keep_quiet(caplog: pytest.LogCaptureFixture) -> None:
    await get(Stack(Stack(Named("a")), log=False)(hello))

    assert ours(caplog) == []


async def test_open_opens_every_layer_and_yields_what_they_hold() -> None:
    layer = Holds()

    async with Stack(Named("a"), Stack(layer), Middleware(Shouts, word=b"")).open() as resources:
        assert str(resources.db) == "the facade"
        assert resources.store is None
        assert layer.log == ["open"]

    assert layer.log == ["open", "close"]


@pytest.mark.parametrize("nonsense", [None, "health", Named, 3])
def test_what_is_no_layer_is_refused(nonsense: Any) -> None:
    with pytest.raises(ConfigurationError, match="Stack takes layers"):
        Stack(nonsense)


def test_stacks_are_values() -> None:
    one, same, other = Stack(Named("a")), Stack(Named("a")), Stack(Named("b"))

    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != Stack(Named("a"), log=False)
    assert one != "Stack"


def test_the_repr_and_the_name_read_like_the_code() -> None:
    stack = Stack(Named("a"), Stack(Named("b")))

    assert repr(stack) == "Stack(Named(name='a'), Stack(Named(name='b')))"
    assert stack.__name__ == repr(stack)


FULL = Settings(
    database_url="postgresql://app:hush@db/app",
    redis_url="redis://:hush@cache:6379",
    health_token="hush",
    runtime_dir="/run/sipup",
    workers=2,
    budget=40,
)


def test_from_settings_builds_the_standard_order() -> None:
    stack = Stack.from_settings(FULL)

    names = [type(layer).__name__ for layer in stack.layers]
    assert names == ["Health", "RateLimit", "ResponseCache", "Database"]
    assert "hush" not in repr(stack)


def test_from_settings_hands_down_what_the_settings_say() -> None:
    limits, cache, database = Stack.from_settings(FULL).layers[1:]

    assert isinstance(limits, RateLimit)
    assert isinstance(cache, ResponseCache)
    assert isinstance(database, Database)
    assert (limits.storage, cache.store.url) == (FULL.redis_url, FULL.redis_url)
    assert cache.store.runtime_dir == "/run/sipup"
    assert (database.url, database.pool.size) == (FULL.database_url, 20)


def test_from_settings_needs_no_server_at_all() -> None:
    stack = Stack.from_settings(Settings())

    assert [type(layer).__name__ for layer in stack.layers] == ["Health", "RateLimit", "ResponseCache"]


@job("tick")
async def tick(ctx: JobContext) -> None: ...


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (Settings(jobs_url="redis://queue", database_url="postgresql://db/app"), "redis://queue"),
        (Settings(database_url="postgresql://db/app", redis_url="redis://cache"), "postgresql://db/app"),
        (Settings(redis_url="redis://cache"), "redis://cache"),
    ],
    ids=["its own", "the database's", "redis"],
)
def test_from_settings_puts_jobs_innermost_where_there_are_tasks(settings: Settings, url: str) -> None:
    stack = Stack.from_settings(settings, tasks=iter([tick]))

    assert stack.layers[-1] == Jobs(url, tasks=(tick,))


def test_from_settings_has_no_jobs_without_tasks_a_server_or_the_will() -> None:
    stacks = [
        Stack.from_settings(FULL),
        Stack.from_settings(Settings(), tasks=[tick]),
        Stack.from_settings(Settings.from_environ(FULL, environ={"SIPUP_JOBS": "off"}), tasks=[tick]),
    ]

    assert not any(isinstance(layer, Jobs) for stack in stacks for layer in stack.layers)


async def test_a_worker_opens_a_pool_of_the_size_it_says() -> None:
    database = Database("postgresql://app@/app?host=/nonexistent.internal")
    stack = Stack(Stack(database), Jobs("memory://"))

    async with stack.open(db_connections=3) as small, stack.open() as usual:
        assert small.db is not None
        assert usual.db is not None
        assert small.jobs is not None
        assert (small.db.pool.config.size, usual.db.pool.config.size) == (3, database.pool.size)
        assert small.db.pool is not usual.db.pool


@pytest.mark.parametrize(
    ("off", "left"),
    [
        ("health", ["RateLimit", "ResponseCache", "Database"]),
        ("rate_limit", ["Health", "ResponseCache", "Database"]),
        ("response_cache", ["Health", "RateLimit", "Database"]),
        ("database", ["Health", "RateLimit", "ResponseCache"]),
    ],
)
def test_from_settings_leaves_out_what_is_switched_off(off: str, left: list[str]) -> None:
    settings = Settings.from_environ(FULL, environ={f"SIPUP_{off.upper()}": "off"})

    assert [type(layer).__name__ for layer in Stack.from_settings(settings).layers] == left
