"""What 200,000 clients cost this process: so many bytes each, none of them once two windows are over.

How long a decision takes then is the bench's to say: ``added_p99_us_200k`` of ``bench.ratelimit``.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from sipup_middleware.ratelimit.memory import MAX_KEYS, MemoryLimiter
from sipup_middleware.ratelimit.policy import Rule, Strategy
from tests.ratelimit.doubles import Clock, rule

CLIENTS = 200_000
NAME = 80
"""Bytes of an address as a str: 49, and what it is written with, as the allocator rounds it."""

ENTRY = 120
"""Bytes of a dict's entry, where the table has just grown to four times what it holds."""

KEPT = {"sliding": 0, "fixed": 0, "gcra": 130, "moving": 420}
"""Bytes of what the entry refers to: a small int is nobody's; a time and a debt; two arrays of one number."""


def address(number: int) -> str:
    return str(IPv4Address(0x0A000000 + number))


def meet(limiter: MemoryLimiter, rules: list[Rule], count: int) -> None:
    for number in range(count):
        name = address(number)
        limiter.decide([(each, name) for each in rules])


@contextmanager
def traced() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("strategy", "clients"), [("sliding", CLIENTS), ("fixed", 20_000), ("gcra", 20_000), ("moving", 20_000)]
)
def test_clients_cost_so_many_bytes_each_and_nothing_after_two_windows(
    strategy: Strategy, clients: int
) -> None:
    rules = [
        rule((100, 60), index=0, name="minute", strategy=strategy),
        rule((1000, 3600), index=1, name="hour", strategy=strategy),
    ]
    clock = Clock()
    limiter = MemoryLimiter(rules, clock=clock)

    with traced():
        meet(limiter, rules, clients)
        held = tracemalloc.get_traced_memory()[0]
        known = limiter.keys
        clock.now += 2 * 3600
        meet(limiter, rules, 1)
        gc.collect()
        left = tracemalloc.get_traced_memory()[0]

    assert known == 2 * clients
    assert held / clients <= NAME + 2 * (ENTRY + KEPT[strategy])
    assert limiter.keys == 2
    assert left < held / 10


def test_a_flood_of_new_clients_costs_no_more_than_twice_what_is_remembered() -> None:
    only = rule((100, 60))
    limiter = MemoryLimiter([only], clock=Clock(), max_keys=10_000)

    with traced():
        meet(limiter, [only], 60_000)
        held = tracemalloc.get_traced_memory()[0]

    assert limiter.keys <= 2 * 10_000
    assert held <= 2 * 10_000 * (NAME + ENTRY)


def test_of_so_many_clients_as_are_remembered_each_is_counted() -> None:
    only = rule((100, 60))
    limiter = MemoryLimiter([only], clock=Clock())
    meet(limiter, [only], CLIENTS)

    again = {limiter.decide([(only, address(number))]).remaining for number in range(0, CLIENTS, 1000)}

    assert CLIENTS < MAX_KEYS
    assert again == {98}
