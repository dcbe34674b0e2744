"""What comes from a server is not trusted: garbage, another's, forged or huge, it is a miss (CWE-345)."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sipup_middleware
from sipup_middleware.cache.stored import CODEC
from sipup_middleware.store import Store, config
from sipup_middleware.store.envelope import Envelope, pack, unpack
from tests.asgi import Exchange, get
from tests.cache.apps import FRESH, Counting, cached

HEADERS = [FRESH, ("etag", '"a"'), ("vary", "accept")]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@dataclass
class Hostile:
    """A server whose owner may do to `data` what he likes."""

    data: dict[str, bytes] = field(default_factory=dict)

    async def get(self, key: str, /) -> bytes | None:
        return self.data.get(key)

    async def set(self, key: str, data: bytes, ttl: float, /) -> bool:
        self.data[key] = data
        return True

    async def delete(self, key: str, /) -> None:
        self.data.pop(key, None)

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Hostile:
    hostile = Hostile()
    monkeypatch.setattr(config, "connect", lambda url, timeout: hostile)
    return hostile


async def asked_again(server: Hostile, change: Callable[[dict[str, bytes]], None]) -> list[Exchange]:
    """Return what two paths get when their entries were changed in the server, and this process is empty."""
    store = Store("memcached://hostile")
    wrapped = cached(Counting(headers=HEADERS), store=store)
    paths = ("/a", "/b")
    for path in paths:
        await get(wrapped, path)
    store.handle()._memory.clear()
    assert len(server.data) == 4, "each URL, and the variant of it"
    change(server.data)
    return [await get(wrapped, path) for path in paths]


async def test_what_is_untouched_is_served(server: Hostile) -> None:
    replies = await asked_again(server, lambda data: None)

    assert [reply.body for reply in replies] == [b"1", b"2"]


def truncate(data: dict[str, bytes]) -> None:
    data.update({key: value[:-1] for key, value in data.items()})


def swap(data: dict[str, bytes]) -> None:
    keys = list(data)
    data.update(dict(zip(keys, [data[key] for key in reversed(keys)], strict=True)))


def flood(data: dict[str, bytes]) -> None:
    data.update(dict.fromkeys(data, b"s2" + b"\xff" * (32 << 20)))


def flip(data: dict[str, bytes]) -> None:
    data.update({key: value[:-1] + bytes([value[-1] ^ 1]) for key, value in data.items()})


def empty(data: dict[str, bytes]) -> None:
    data.update(dict.fromkeys(data, b""))


@pytest.mark.parametrize("change", [truncate, swap, flood, flip, empty])
async def test_what_is_damaged_anothers_or_huge_is_asked_of_the_app(
    server: Hostile, change: Callable[[dict[str, bytes]], None]
) -> None:
    replies = await asked_again(server, change)

    assert [reply.body for reply in replies] == [b"3", b"4"]


class Bomb:
    """Goes off when it is unpickled."""

    gone_off = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Bomb, "gone_off", True)


@pytest.mark.parametrize("protocol", [0, 2, 5])
async def test_a_pickle_is_never_loaded(server: Hostile, protocol: int) -> None:
    """CWE-502; Slaviero, BlackOps: Sour Pickles, Black Hat USA 2011 (pickles in memcached)."""
    bomb = pickle.dumps(Bomb(), protocol)

    replies = await asked_again(server, lambda data: data.update(dict.fromkeys(data, bomb)))

    assert [reply.body for reply in replies] == [b"3", b"4"]
    assert not Bomb.gone_off


def imports() -> Iterator[tuple[str, str]]:
    for file in Path(sipup_middleware.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                yield from ((file.name, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((file.name, f"{node.module}.{alias.name}") for alias in node.names)


def test_nothing_that_turns_bytes_into_code_is_imported() -> None:
    """CWE-502: neither directly nor as a serialiser of aiocache."""
    dangerous = {
        "pickle",
        "cPickle",
        "marshal",
        "shelve",
        "dill",
        "cloudpickle",
        "jsonpickle",
        "PickleSerializer",
    }

    assert not [found for found in imports() if dangerous & {*found[1].split(".")}]


def forged(
    meta: Any, body: bytes, *, kept: float | None = None, ttl: Any = 60.0
) -> Callable[[dict[str, bytes]], None]:
    """Return what puts an envelope in place of every one, under its own key and with a true checksum."""

    def change(data: dict[str, bytes]) -> None:
        for name, value in data.items():
            length = int.from_bytes(value[6:10], "big")
            key = value[18 : 18 + length]
            old = unpack(key, value)
            data[name] = pack(
                key, Envelope(meta, body, old.kept if kept is None else kept, ttl, old.cells, old.stamps)
            )

    return change


NOW = time()
GENUINE: list[Any] = ["a", 200, ["x-a", "1"], [NOW, 3600, 0, 0], [0, False, False], "/", [], []]


async def test_only_what_is_impossible_is_found_out(server: Hostile) -> None:
    """Who may write to the server may answer for the app: that is what the tests below are to be read by."""
    replies = await asked_again(server, forged(GENUINE, b"evil"))

    assert [reply.body for reply in replies] == [b"evil", b"evil"]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (1, 99),
        (1, 100),
        (1, 1000),
        (1, -200),
        (1, "200 OK\r\nx: y"),
        (2, ["x-a", "1\r\nSet-Cookie: session=evil"]),
        (2, ["x\r\na", "1"]),
        (2, ["x-a ", "1"]),
        (2, ["transfer-encoding", "chunked"]),
        (2, ["content-length", "3"]),
        (2, ["content-length", "4", "content-length", "4"]),
        (2, ["connection", "close"]),
        (3, [NOW, "nan", 0, 0]),
        (3, [NOW, "inf", 0, 0]),
        (3, ["-inf", 60, 0, 0]),
        (3, [1e300, 60, 0, 0]),
        (3, [NOW, 1e300, 0, 0]),
        (4, [0, False]),
        (4, ["x", False, False]),
    ],
)
async def test_an_answer_that_no_app_gave_is_asked_of_the_app(server: Hostile, at: int, value: Any) -> None:
    """CWE-113, CWE-345: a checksum is no signature; at least no server is made to choke or to split."""
    meta = [*GENUINE[:at], value, *GENUINE[at + 1 :]]

    replies = await asked_again(server, forged(meta, b"evil"))

    assert [reply.body for reply in replies] == [b"3", b"4"]


@pytest.mark.parametrize(
    "times", [{"ttl": "inf"}, {"ttl": "nan"}, {"kept": "nan"}, {"kept": "-inf"}, {"kept": 1e300}]
)
async def test_an_envelope_without_an_end_is_asked_of_the_app(server: Hostile, times: Any) -> None:
    replies = await asked_again(server, forged(GENUINE, b"evil", **times))

    assert [reply.body for reply in replies] == [b"3", b"4"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(at=st.integers(0, len(GENUINE)), value=JSON, body=st.binary(max_size=5))
def test_no_json_raises_but_what_the_codec_promises(at: int, value: Any, body: bytes) -> None:
    meta = orjson.loads(orjson.dumps([*GENUINE[:at], value, *GENUINE[at + 1 :]]))

    try:
        found = CODEC.decode(meta, body)
    except (ValueError, KeyError, TypeError, IndexError):
        return

    assert CODEC.size(found) > 0
