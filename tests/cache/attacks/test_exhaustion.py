"""Whatever clients send, memory stays bounded and work linear: CWE-770, CWE-407, CWE-1333.

Steps are counted, not timed: calls of functions, Python's and C's, while twice as many bytes are read. What a
regular expression does within one call is bounded by a deadline of a hundred times what it takes.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from time import process_time
from types import FrameType
from typing import Any

import pytest

from sipup_middleware.cache import Rule
from sipup_middleware.cache.answer import Answer, Kinds
from sipup_middleware.cache.client import read_wish
from sipup_middleware.cache.middleware import ResponseCacheMiddleware
from sipup_middleware.cache.request import Request
from sipup_middleware.cache.rules import misleads
from sipup_middleware.cache.stored import CODEC
from sipup_middleware.cache.validators import not_modified
from sipup_middleware.cache.vary import variant, vary_fields
from sipup_middleware.store import Store, tags, url_tags
from sipup_middleware.store.memory import Entry, Memory
from sipup_middleware.store.stamps import Stamps
from sipup_middleware.store.tags import Seal
from tests.asgi import get, http_scope
from tests.cache.apps import FRESH, Clock, Counting, Scripted, cached, timed
from tests.cache.test_stored import kept
from tests.store.doubles import open_store

MEGABYTE = 1 << 20

Reader = Callable[[bytes], object]
READERS: dict[str, Reader] = {
    "if-none-match": lambda value: not_modified([(b"if-none-match", value)], b'"x"', 0),
    "if-modified-since": lambda value: not_modified([(b"if-modified-since", value)], None, 0),
    "vary: accept-language": lambda value: variant((b"accept-language",), [(b"accept-language", value)]),
    "vary: cookie": lambda value: variant((b"cookie",), [(b"cookie", value)]),
    "cache-control of a client": lambda value: read_wish([value]),
    "any header": lambda value: Request(
        http_scope() | {"headers": [(b"host", b"a"), (b"pragma", value)]}, None
    ),
    "host": lambda value: Request(http_scope() | {"headers": [(b"host", value)]}, None),
    "cache-control": lambda value: Answer(200, [(b"cache-control", value)]),
    "connection": lambda value: Answer(200, [(b"connection", value)]),
    "content-length": lambda value: Answer(200, [(b"content-length", value)]),
    "date": lambda value: Answer(200, [(b"expires", value)]).date(b"expires"),
    "vary": lambda value: vary_fields([value]),
    "a path": lambda value: url_tags("/" + value.decode("latin-1"), "a"),
    "a path under rules": lambda value: misleads("/" + value.decode("latin-1")),
    "a path under stars": lambda value: Rule("/*/p/*/p/*/p/*/e", ttl=1).match("/" + value.decode("latin-1")),
    "a query": lambda value: Rule("/", ttl=1, query=("a",)).allows(value),
}
PIECES = [
    b"a",
    b"a,",
    b'"',
    b'"a",',
    b'"a" ,',
    b'"\\',
    b'\\"',
    b", ",
    b"%25",
    b"25",
    b"/p/",
    b"/../",
    b"&a=",
    b'W/"a",',
]


def steps(reader: Reader, value: bytes) -> int:
    """Return how many functions are called while *value* is read."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        reader(value)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_twice_the_bytes_are_twice_the_steps(reader: Reader) -> None:
    for piece in PIECES:
        few = steps(reader, piece * 2000)

        assert steps(reader, piece * 4000) <= 2 * few + 50, piece


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_megabyte_of_anything_is_read_in_a_moment(reader: Reader) -> None:
    """CWE-1333: quotes that never close, tags, commas, encodings of encodings; as in CVE-2020-7663."""
    for piece in PIECES:
        began = process_time()

        reader(piece * (MEGABYTE // len(piece)))
        reader(b'"' + piece * (MEGABYTE // len(piece)))

        assert process_time() - began < 20, piece


@pytest.mark.parametrize("name", ["vary: accept-language", "cache-control of a client", "if-none-match"])
def test_a_line_longer_than_anybody_needs_is_not_taken_apart(name: str) -> None:
    """CWE-407: a megabyte of commas is half a million members, at each hit."""
    assert steps(READERS[name], b'"a",' * (MEGABYTE // 4)) < 50


def test_a_path_is_decoded_a_few_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """CWE-407: "%25252525…" is one character, encoded a thousand times."""
    calls = 0

    def counting(path: str) -> str:
        nonlocal calls
        calls += 1
        return path.replace("%25", "%", 1)

    monkeypatch.setattr(tags, "unquote", counting)

    url_tags("/%" + "25" * 2000)

    assert calls <= 8


@pytest.mark.parametrize(
    "name", ["If-None-Match", "Range", "If-Range", "Accept-Language", "Cache-Control", "Cookie"]
)
async def test_a_header_of_a_megabyte_gets_an_answer(name: str) -> None:
    app = Scripted(headers=[FRESH, ("vary", "accept-language"), ("etag", '"a"')])
    wrapped = cached(app, honor_client_cache_control=True)

    for value in ('"a",' * (MEGABYTE // 4), "bytes=" + "0-," * (MEGABYTE // 3), "9" * MEGABYTE):
        for _ in range(2):
            assert (await get(wrapped, headers=[(name, value)])).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_of_a_megabyte_matches_no_rule_for_long(method: str) -> None:
    """CWE-1333: a rule with several stars on a path that almost matches."""
    wrapped = cached(Scripted(), Rule("/*/p/*/{id}", ttl=60))

    reply = await get(wrapped, "/" + "p/" * (MEGABYTE // 2), method=method)

    assert "fwd=" in reply.headers["cache-status"]


async def test_36_distinct_urls_stay_under_the_bound() -> None:
    """CWE-770: cache busting by a query, a Host or a path that nobody asked for before."""
    store = Store(max_bytes=MEGABYTE)
    wrapped = cached(Counting(), store=store)
    await get(wrapped, "/hot")

    for number in range(4000):
        await get(wrapped, f"/{number % 7}", query=f"buster={number}")
        if not number % 100:
            await get(wrapped, "/hot")
            assert store.handle().stats()["bytes"] <= MEGABYTE

    stats = store.handle().stats()
    assert stats["entries"] > 100
    assert stats["evictions"] > 1000
    assert (await get(wrapped, "/hot")).body == b"1", "who asks once does not drive out what is asked for"


async def test_variants_that_nobody_asks_for_again_are_bounded() -> None:
    """CWE-770: a thousand values of Accept-Language."""
    store = Store()
    wrapped = cached(Scripted(headers=[FRESH, ("vary", "accept-language")]), store=store, max_variants=5)

    for number in range(1000):
        await get(wrapped, headers=[("accept-language", f"x-{number}")])

    assert store.handle().stats()["entries"] == 5 + 1


async def test_what_went_wrong_of_late_is_bounded() -> None:
    """CWE-770: the table of what is not storable must not be a way around the bound."""
    wrapped = timed(Scripted(headers=[("cache-control", "no-store")]), Clock())
    assert isinstance(wrapped, ResponseCacheMiddleware)

    for number in range(9000):
        await get(wrapped, f"/{number}")

    assert len(wrapped._parts.unstorable._until) <= 8192
    assert not wrapped.store.handle().flights.leaders
    assert wrapped.store.handle().stats()["entries"] == 0


def test_names_of_fields_and_tags_that_are_learnt_are_bounded() -> None:
    kinds, stamps = Kinds(), Stamps()

    for number in range(70_000):
        Answer(200, [(b"x-%d" % number, b"")] if number < 5000 else [], kinds)
        stamps.cell(f"user:{number}")
    for number in range(100):
        stamps.cell(f"{'long' * 100}{number}")
        Answer(200, [(b"long" * 100 + b"%d" % number, b"")], kinds)

    assert len(kinds) <= 1024
    assert len(stamps._slots) <= 65_536
    assert max(map(len, stamps._slots)) <= 256


def test_tags_of_long_paths_are_not_remembered() -> None:
    """CWE-770: else each process could be made to hold megabytes of paths that nobody asks for again."""
    before = tags._directory_tags.cache_info().currsize

    for number in range(100):
        url_tags(f"/{number}/{'a/' * 1000}")

    assert tags._directory_tags.cache_info().currsize == before


def test_headers_and_tags_that_an_answer_drags_along_weigh_what_they_take() -> None:
    """CWE-770: an entry that says it is small and is not."""
    small, large = kept([]), kept([(b"x-a", b"a" * 10_000)], b"b" * 10_000)
    large.tags = ("c" * 10_000,)

    assert CODEC.size(large) - CODEC.size(small) > 30_000


def test_36_a_million_urls_stay_under_the_bound() -> None:
    memory = Memory(MEGABYTE)
    seal = Seal((2,), (0,), 0)

    for number in range(1_000_000):
        memory.put(Entry(b"/%d" % number, None, size=200, kept=0, deadline=1, seal=seal))
        assert memory.bytes <= MEGABYTE

    assert memory.bytes == sum(entry.size for entry in memory.entries.values())


def test_36_the_bound_is_one_of_real_memory() -> None:
    """CWE-770: what an entry is said to weigh is not less than what Python takes for it."""
    store = open_store(max_bytes=4 * MEGABYTE)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]

    for number in range(15_000):
        fields = [(b"etag", b'"%d"' % number), (b"x-number", b"%d" % number)]
        store.keep(b"/%d" % number, kept(fields, b"%d" % number), CODEC, ttl=60, tags=store.collect("a", "b"))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert store.stats()["evictions"] > 1000
    assert taken <= 4 * MEGABYTE
