from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.cache.stored import CODEC, Entry, StoredResponse, Variants

PAIRS = st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=4)


def travelled(entry: Entry) -> Entry:
    meta, body = CODEC.encode(entry)
    return CODEC.decode(orjson.loads(orjson.dumps(meta)), body)


@given(PAIRS, st.binary(max_size=50))
def test_an_answer_travels_unchanged_whatever_its_bytes(
    fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    stored = StoredResponse(200, fields, body, (1.5, 60.0, 3), route="/x/{id}")

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
        "r",
        ["x"],
        ["r", 200],
        ["r", "a", [], 0, 0, 0],
        ["r", 200, ["odd"], 0, 0, 0],
        ["r", 200, [1, 2], 0, 0, 0],
        ["r", 200, "ab", 0, 0, 0],
        ["r", 200, ["\u20ac", ""], 0, 0, 0],
        ["r", 200, [], None, 0, 0],
        ["v", None, [], 0],
        ["v", [], []],
    ],
)
def test_what_is_no_entry_is_told_as_the_codec_promises(meta: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        CODEC.decode(meta, b"")


def test_a_length_is_added_where_the_app_streamed_without() -> None:
    assert StoredResponse(200, [], b"hello", (0.0, 1.0, 0), route="/").fields == ((b"content-length", b"5"),)
    assert StoredResponse(204, [], b"", (0.0, 1.0, 0), route="/").fields == ()


def test_a_newer_variant_takes_the_place_of_the_oldest() -> None:
    variants = Variants((b"accept",), (), 0.0)
    for name, until in ((b"a", 9.0), (b"b", 5.0), (b"a", 6.0), (b"c", 7.0)):
        variants = variants.adding(name, until, most=2)

    assert (variants.kept, variants.until) == ((b"a", b"c"), 9.0)
