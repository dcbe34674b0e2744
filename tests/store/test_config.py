from __future__ import annotations

import builtins
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sipup_middleware.errors import ConfigurationError, MissingExtra
from sipup_middleware.store import Store
from sipup_middleware.telemetry import Fact, Telemetry, WarningRaised
from tests.store.doubles import TEXT


@pytest.mark.parametrize(
    "url",
    [
        "redis://a",
        "rediss://a:1/2",
        "valkey://u:p@a",
        "unix:///tmp/x?db=1",
        "redis+sentinel://a,b/main",
        "memcached://a",
        "memcached://[::1]:11212",
        "file:///tmp/nowhere",
        "file://./cache?max_bytes=2g",
    ],
)
def test_known_schemes_are_accepted_without_a_connection(url: str) -> None:
    assert Store(url) == Store(url)


@pytest.mark.parametrize("url", ["", "memory", "file", "files://./cache", "http://secret@host", "Redis"])
def test_an_unknown_scheme_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"memory://, redis://.* file://, memcached://") as refused:
        Store(url)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "memcached://",
        "memcached://host:port",
        "memcached://host:70000",
        "memcached://user:secret@host",
        "memcached://host/secret",
        "memcached://host?pool=secret",
        "memcached://[",
        "file://secret/cache",
    ],
)
def test_a_url_that_its_driver_cannot_read_is_refused_by_its_form(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Store\.url cannot be read: its form is \w+://") as refused:
        Store(url)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("max_bytes", {"max_bytes": 0}),
        ("timeout", {"timeout": 0}),
        ("timeout", {"timeout": float("nan")}),
        ("url", {"url": "redis://h?socket_timeout=soon"}),
        ("url", {"url": "redis://h?nonsense=1"}),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_field(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"Store\.{field}"):
        Store(**options)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@cache:6379/2", "redis://user:***@cache:6379/2"),
        ("rediss://:secret@cache", "rediss://:***@cache"),
        ("unix://user:secret@/run/valkey.sock?db=1", "unix://user:***@/run/valkey.sock?db=1"),
        ("redis://cache?db=1&password=secret", "redis://cache?db=1&password=***"),
        ("memory://", "memory://"),
        ("memcached://cache:11211", "memcached://cache:11211"),
        ("file://./cache?max_bytes=1g", "file://./cache?max_bytes=1g"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    store = Store(url)

    assert repr(store).startswith(f"Store({shown!r}, max_bytes=")
    assert "secret" not in repr(store)


def test_a_store_is_a_value_and_its_handle_is_not() -> None:
    store = Store(max_bytes=1000)
    store.handle()

    copy = pickle.loads(pickle.dumps(store))

    assert copy == store == Store(max_bytes=1000)
    assert hash(copy) == hash(store)
    assert copy.handle() is not store.handle()


@pytest.mark.parametrize(
    ("url", "library", "extra"),
    [
        ("redis://cache", "redis", "redis"),
        ("redis://cache", "aiocache", "cache"),
        ("memcached://cache", "aiocache", "memcached"),
        ("memcached://cache", "aiomcache", "memcached"),
        ("file://./cache", "aiocache", "cache"),
    ],
)
def test_a_missing_library_speaks_when_its_url_is_named(
    url: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] == library:
            raise ImportError(name)
        return real(name, *args, **options)

    driver = f"sipup_middleware.store.backend_{url.partition(':')[0]}"
    monkeypatch.delitem(sys.modules, driver, raising=False)
    monkeypatch.setattr(builtins, "__import__", without)

    Store().handle()
    with pytest.raises(MissingExtra, match=rf"\[{extra}\]"):
        Store(url)


def test_memory_needs_no_library_of_a_server() -> None:
    program = (
        "import sys; from sipup_middleware.store import Store; Store().handle(); "
        "print({'redis', 'aiocache', 'aiomcache', 'trio'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


async def test_whoever_opens_a_store_first_opens_it_for_all(anyio_backend: Any) -> None:
    store = Store()

    async with store.open() as first, store.open() as second:
        assert first is second is store.handle()

    async with Store().open() as other:
        assert other is not first


async def test_gauges_follow_whatever_is_open(anyio_backend: Any) -> None:
    store, telemetry = Store(), Telemetry()
    store.register(telemetry)
    store.register(telemetry)

    def read() -> list[float]:
        return [value for _, value in telemetry.gauges("cache.entries")]

    assert read() == [0]
    async with store.open() as cache:
        cache.keep(b"key", "x", TEXT, ttl=1, tags=cache.collect())
        assert read() == [1]
    assert read() == [0]
    assert not telemetry.checks, "memory has no server to ask"


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("url", ["redis://cache", "memcached://cache", "file:///tmp/cache"])
def test_a_server_without_shared_stamps_is_warned_of_once(
    *, url: str, shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIPUP_RUNTIME_DIR", raising=False)
    if shared:
        monkeypatch.setenv("SIPUP_RUNTIME_DIR", str(tmp_path))
    facts = list[Fact]()
    telemetry = Telemetry([facts.append])
    store = Store(url)

    store.register(telemetry)
    store.register(telemetry)

    shared |= url.startswith(("file:", "redis:"))  # by its directory, through the server
    assert [type(fact) for fact in facts] == ([] if shared else [WarningRaised])


async def test_a_server_that_was_never_asked_is_not_called_well(anyio_backend: Any) -> None:
    telemetry = Telemetry()
    Store("redis://cache").register(telemetry)

    reading = await telemetry.checks["store:ping"].probe()

    assert reading
    assert reading.status == "warn"
    assert not telemetry.checks["store:ping"].critical
