"""What share of a skewed trace a bounded cache answers: ours, and the two policies that everybody knows.

Zipf's law with exponent 1: the n-th of the keys is asked for 1/n as often as the first. The caches begin
empty, so the first time that a key is asked for counts as a miss everywhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from random import Random

from sipup_middleware import Store
from sipup_middleware.store.codec import JsonCodec

__all__ = ("fifo_hits", "lru_hits", "our_hits", "zipf")

_CODEC = JsonCodec()
_LONG = 1e6


def zipf(keys: int, requests: int) -> list[int]:
    """Return which key each request asks for; the same in every run."""
    weights = list(accumulate(1 / rank for rank in range(1, keys + 1)))
    return Random(1).choices(range(keys), cum_weights=weights, k=requests)  # noqa: S311 (a trace is no secret)


async def our_hits(trace: Iterable[int], room: int) -> int:
    """Count what the in-process tier answers, with room for so many entries of one size."""
    hits = 0
    async with Store(max_bytes=room * await _bytes_an_entry()).open() as cache:
        tags = cache.collect()
        for number in trace:
            key = _key(number)
            if cache.peek(key) is not None:
                hits += 1
            else:
                cache.keep(key, b"1", _CODEC, ttl=_LONG, tags=tags)
    return hits


async def _bytes_an_entry() -> int:
    async with Store().open() as cache:
        cache.keep(_key(0), b"1", _CODEC, ttl=_LONG, tags=cache.collect())
        return cache.stats()["bytes"]


def _key(number: int) -> bytes:
    return b"%08d" % number


def lru_hits(trace: Sequence[int], room: int) -> int:
    """Count what a cache answers that evicts what was not asked for longest."""
    return _hits(trace, room, renew=True)


def fifo_hits(trace: Sequence[int], room: int) -> int:
    """Count what a cache answers that evicts what came first."""
    return _hits(trace, room, renew=False)


def _hits(trace: Sequence[int], room: int, *, renew: bool) -> int:
    hits = 0
    kept: OrderedDict[int, None] = OrderedDict()
    for key in trace:
        if key in kept:
            hits += 1
            if renew:
                kept.move_to_end(key)
            continue
        if len(kept) == room:
            kept.popitem(last=False)
        kept[key] = None
    return hits
