from __future__ import annotations

import random
from collections import OrderedDict
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.store.memory import Entry, Memory
from sipup_middleware.store.tags import Seal
from tests.store.doubles import TEXT, Clock, Text, open_store


def entry(key: bytes, size: int = 0) -> Entry:
    return Entry(key, key, size=size, kept=0, deadline=1, seal=Seal((2,), (0,), 0))


A = entry(b"a").size


def queue(memory: Memory) -> list[bytes]:
    """Walk from the newest to the oldest and back; both ways must agree with the dict."""
    there, each = list[bytes](), memory._newest
    while each is not None:
        there.append(each.key)
        last, each = each, each.older
        assert each is None or each.newer is last
    assert set(there) == set(memory.entries)
    assert len(there) == len(memory.entries)
    return there


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "hit", "remove"]), st.integers(0, 15), st.integers(0, 3000)),
        max_size=200,
    ),
    st.integers(A, 8 * A),
)
def test_the_bound_holds_whatever_happens(steps: list[tuple[str, int, int]], bound: int) -> None:
    memory = Memory(bound)

    for step, number, size in steps:
        key = b"%x" % number
        present = memory.entries.get(key)
        if step == "put":
            fresh = entry(key, size)
            assert memory.put(fresh) == (fresh.size <= bound)
            assert (key in memory.entries) == (fresh.size <= bound), "an old value never outlives a newer one"
        elif present and step == "hit":
            present.visited = True
        elif present:
            memory.remove(present)

        assert memory.bytes == sum(each.size for each in memory.entries.values()) <= bound
        queue(memory)


def test_the_first_to_leave_is_the_oldest_that_was_not_asked_for_again() -> None:
    memory = Memory(3 * A)
    for key in (b"a", b"b", b"c"):
        memory.put(entry(key))
    memory.entries[b"a"].visited = True

    memory.put(entry(b"d"))
    memory.put(entry(b"e"))

    assert queue(memory) == [b"e", b"d", b"a"]
    assert memory.evictions == 2


def test_a_hundred_thousand_keys_stay_under_the_bound() -> None:
    store = open_store(max_bytes=1 << 20)

    for number in range(100_000):
        store.keep(b"/products/%d" % number, "x", TEXT, ttl=60, tags=store.collect())
        assert store.stats()["bytes"] <= 1 << 20

    assert store.stats()["entries"] > 1000


def test_a_value_over_the_bound_is_not_kept_and_evicts_nothing() -> None:
    store = open_store(max_bytes=10_000)
    store.keep(b"small", "x", TEXT, ttl=60, tags=store.collect())

    kept = store.keep(b"large", "x", Text(weight=10_000), ttl=60, tags=store.collect())

    assert not kept
    assert store.peek(b"small") == "x"


def test_skewed_traffic_hits_three_in_four_with_room_for_a_tenth() -> None:
    keys, room = 100_000, 10_000
    weights = list(accumulate(1 / rank for rank in range(1, keys + 1)))
    trace = random.Random(44).choices(range(keys), cum_weights=weights, k=600_000)  # noqa: S311 (a trace, not a secret)
    warm = len(trace) // 3
    sieve, fifo = Memory(room * A), OrderedDict[int, None]()
    entries, hits = sieve.entries, {"sieve": 0, "fifo": 0}

    for at, number in enumerate(trace):
        found = entries.get(key := b"%d" % number)
        if found is not None:
            found.visited = True
            hits["sieve"] += at >= warm
        else:
            fresh = entry(key)
            fresh.size = A
            sieve.put(fresh)
        if number in fifo:
            hits["fifo"] += at >= warm
        else:
            fifo[number] = None
            if len(fifo) > room:
                fifo.popitem(last=False)

    rate = {name: count / (len(trace) - warm) for name, count in hits.items()}
    assert rate["sieve"] >= 0.75
    assert rate["sieve"] > rate["fifo"] + 0.05


def test_an_entry_ends_with_its_lifetime() -> None:
    clock = Clock()
    store = open_store(clock=clock)
    store.keep(b"key", "x", TEXT, ttl=1.5, tags=store.collect())

    clock.now += 1.25
    assert store.peek(b"key") == "x"

    clock.now += 0.25
    assert store.peek(b"key") is None
    assert store.stats()["entries"] == 0


def test_a_clock_that_goes_back_makes_nothing_immortal() -> None:
    clock = Clock()
    store = open_store(clock=clock)
    store.keep(b"key", "x", TEXT, ttl=60, tags=store.collect())

    clock.now -= 3600

    assert store.peek(b"key") is None
