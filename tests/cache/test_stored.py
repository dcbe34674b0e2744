from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.answer import Answer
from sipup_middleware.cache.policy import Terms
from sipup_middleware.cache.stored import CODEC, Entry, StoredResponse, Variants

VALUES = st.binary(max_size=9).filter(lambda value: not {0, 10, 13} & {*value})
PAIRS = st.lists(st.tuples(st.sampled_from([b"X-A", b"x-a", b"etag", b"vary"]), VALUES), max_size=4)


def kept(fields: list[tuple[bytes, bytes]], body: bytes = b"", *, status: int = 200) -> StoredResponse:
    terms = Terms(60.0, 0.0, 3, ())
    return StoredResponse(Answer(status, fields), fields, body, terms, born=1.5, route="/x/{id}")


def travelled(entry: Entry) -> Entry:
    meta, body = CODEC.encode(entry)
    return CODEC.decode(orjson.loads(orjson.dumps(meta)), body)


@given(PAIRS, st.binary(max_size=50))
def test_an_answer_travels_unchanged_whatever_its_bytes(
    fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    stored = kept(fields, body)
    stored.tags, stored.own = ("product:7",), (b"max-age=5",)
    stored.swr, stored.sie, stored.never_stale, stored.immutable = 1.0, 2.5, True, True

    found = travelled(stored)

    assert isinstance(found, StoredResponse)
    for name in StoredResponse.__slots__:
        assert getattr(found, name) == getattr(stored, name)


def test_variants_travel_unchanged() -> None:
    found = travelled(Variants((b"accept",), (b"\x00\xff", b"b"), 9.5))

    assert isinstance(found, Variants)
    assert (found.fields, found.kept, found.until) == ((b"accept",), (b"\x00\xff", b"b"), 9.5)


@pytest.mark.parametrize(
    "meta",
    [
        None,
        [],
        {},
        "a",
        ["x"],
        ["a", 200],
        ["a", "b", [], [0, 0, 0, 0], [0, 0, 0], "/", [], []],
        ["a", 200, ["odd"], [0, 0, 0, 0], [0, 0, 0], "/", [], []],
        ["a", 200, [1, 2], [0, 0, 0, 0], [0, 0, 0], "/", [], []],
        ["a", 200, "ab", [0, 0, 0, 0], [0, 0, 0], "/", [], []],
        ["a", 200, ["\u20ac", ""], [0, 0, 0, 0], [0, 0, 0], "/", [], []],
        ["a", 200, [], [None, 0, 0, 0], [0, 0, 0], "/", [], []],
        ["a", 200, [], [0, 0], [0, 0, 0], "/", [], []],
        ["a", 200, [], [0, 0, 0, 0], [0, 0, 0], "/", None, []],
        ["v", None, [], 0],
        ["v", [], []],
    ],
)
def test_what_is_no_entry_is_told_as_the_codec_promises(meta: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        CODEC.decode(meta, b"")


def test_a_length_is_added_where_the_app_streamed_without() -> None:
    assert kept([], b"hello").fields == [(b"content-length", b"5")]
    assert kept([], status=204).fields == []


def test_a_newer_variant_takes_the_place_of_the_oldest() -> None:
    variants = Variants((b"accept",), (), 0.0)
    for name, until in ((b"a", 9.0), (b"b", 5.0), (b"a", 6.0), (b"c", 7.0)):
        variants = variants.adding(name, until, most=2)

    assert (variants.kept, variants.until) == ((b"a", b"c"), 9.0)
