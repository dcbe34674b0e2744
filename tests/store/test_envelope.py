from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.store.crossing import Crossing
from sipup_middleware.store.envelope import Envelope, pack, unpack
from sipup_middleware.store.report import Report
from sipup_middleware.store.stamps import Stamps
from sipup_middleware.store.tags import TagSet
from sipup_middleware.telemetry import Telemetry
from tests.store.doubles import TEXT, Clock

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
STAMPS = st.lists(st.integers(0, 2**64 - 1), max_size=12).map(tuple)
DIGESTS = st.lists(st.text("0123456789abcdef"), max_size=12).map(tuple)
ENVELOPES = st.builds(
    Envelope,
    meta=JSON,
    body=st.binary(max_size=500),
    kept=st.floats(0, 1e10),
    ttl=st.floats(0.001, 1e9),
    cells=STAMPS | DIGESTS,
    stamps=STAMPS | DIGESTS,
)


@given(st.binary(), ENVELOPES)
def test_what_is_packed_is_unpacked(key: bytes, envelope: Envelope) -> None:
    assert unpack(key, pack(key, envelope)) == envelope


@given(ENVELOPES, st.data())
def test_one_damaged_byte_is_noticed(envelope: Envelope, data: st.DataObject) -> None:
    packed = bytearray(pack(b"key", envelope))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises((ValueError, TypeError)):
        unpack(b"key", bytes(packed))


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        unpack(b"key", garbage)


def test_another_key_is_refused() -> None:
    packed = pack(b"one", Envelope(None, b"", 0, 1, (), ()))

    with pytest.raises(ValueError, match="another key"):
        unpack(b"two", packed)


@pytest.mark.parametrize(
    "fields",
    [
        {"meta": {"kind": "picture"}},
        {"meta": None},
        {"meta": {}},
        {"body": b"\xff"},
        {"cells": ("1",), "stamps": (1,)},
        {"cells": (1 << 40,), "stamps": (1,)},
        {"cells": (None,), "stamps": (1,)},
    ],
)
async def test_an_envelope_that_does_not_fit_is_a_miss_and_counted(fields: dict[str, object]) -> None:
    stamps, clock, telemetry = Stamps(), Clock(), Telemetry()
    report = Report()
    report.add(telemetry)
    crossing = crossing_over(stamps, clock, report)
    seal = TagSet(stamps, "products").seal()
    assert seal
    good = {
        "meta": {"kind": "text"},
        "body": b"chair",
        "kept": clock(),
        "ttl": 60,
        "cells": seal.cells,
        "stamps": seal.stamps,
    }

    async def read(**given: Any) -> str | None:
        crossed = await crossing.read(b"key", pack(b"key", Envelope(**given)), TEXT, 0)
        return None if crossed is None else crossed.value

    assert await read(**good) == "chair"
    assert await read(**(good | fields)) is None

    assert telemetry.counter("store.errors", op="decode").value == 1


@pytest.mark.parametrize("later", [60, 1e9, -3600])
async def test_an_envelope_of_another_time_is_a_miss(later: float) -> None:
    clock, stamps = Clock(), Stamps()
    crossing = crossing_over(stamps, clock, Report())
    seal = TagSet(stamps).seal()
    assert seal
    packed = pack(b"key", Envelope({"kind": "text"}, b"chair", clock(), 60, seal.cells, seal.stamps))

    clock.now += later

    assert await crossing.read(b"key", packed, TEXT, 0) is None


def test_an_envelope_of_the_version_before_is_read() -> None:
    envelope = Envelope({"kind": "text"}, b"chair", 1.0, 60.0, (2, 70), (4, 6))

    before = b"s1" + pack(b"key", envelope)[2:]

    assert unpack(b"key", before) == envelope


def crossing_over(stamps: Stamps, clock: Clock, report: Report) -> Crossing:
    second: Any = None
    return Crossing(second, stamps, None, report, clock)
