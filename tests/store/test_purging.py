"""Purging around a write: what was read before it cannot be stored after it, however it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from sipup_middleware.store import OpenStore, Store
from sipup_middleware.store.pending import LIFE
from sipup_middleware.store.report import Report
from sipup_middleware.store.stamps import Stamps
from sipup_middleware.telemetry import Fact, ResponsesPurged, Telemetry
from tests.store.doubles import TEXT, Clock, open_store

KEY = b"key"


def keep(cache: OpenStore, *tags: str) -> bool:
    return cache.keep(KEY, "chair", TEXT, ttl=60, tags=cache.collect(*tags))


async def test_while_the_body_runs_nothing_with_its_tags_is_served_or_stored() -> None:
    cache = open_store()
    keep(cache, "products")
    cache.keep(b"else", "table", TEXT, ttl=60, tags=cache.collect("else"))

    async with cache.purging(tags=["products"]):
        assert cache.peek(KEY) is None
        assert not keep(cache, "products")
        assert cache.peek(b"else") == "table"

    assert cache.peek(KEY) is None
    assert keep(cache, "products")
    assert cache.peek(KEY) == "chair"


@pytest.mark.parametrize(
    ("purge", "tag"),
    [
        ({"tags": "products"}, "products"),
        ({"url": "/products"}, "url:/products"),
        ({"prefix": "/"}, "under:/"),
        ({"everything": True}, "whatever"),
    ],
)
async def test_what_was_begun_before_the_write_is_not_stored_after_it(
    purge: dict[str, Any], tag: str
) -> None:
    cache = open_store(stamps=Stamps(clock=(clock := Clock())))
    early, late = cache.collect(tag), cache.collect()

    async with cache.purging(**purge):
        clock.now += 0.001
        during = cache.collect(tag)
    clock.now += 0.001
    late.add(tag)

    for tags in (early, late, during):
        assert not cache.keep(KEY, "chair", TEXT, ttl=60, tags=tags)
    assert keep(cache, tag)


async def test_a_write_that_failed_purges_too_and_its_error_is_the_callers() -> None:
    cache = open_store()
    keep(cache, "products")

    with pytest.raises(LookupError):
        async with cache.purging(tags=["products"]):
            raise LookupError

    assert cache.peek(KEY) is None
    assert keep(cache, "products")


async def test_a_write_that_is_cancelled_purges_too() -> None:
    cache, inside = open_store(), anyio.Event()

    async def write() -> None:
        async with cache.purging(tags=["products"]):
            inside.set()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await inside.wait()
        tasks.cancel_scope.cancel()

    assert keep(cache, "products"), "nothing is pending any more"


async def test_what_begins_right_after_the_write_is_stored() -> None:
    cache = open_store(stamps=Stamps())

    async with cache.purging(tags=["products"]):
        pass

    assert keep(cache, "products")


async def test_another_write_that_is_pending_stands() -> None:
    cache = open_store()

    async with cache.purging(tags=["products"]):
        async with cache.purging(tags=["products", "else"]):
            pass
        assert not keep(cache, "products")
        assert keep(cache, "else")
        await cache.invalidate(tags=["products"])
        assert not keep(cache, "products")

    assert keep(cache, "products")


async def test_a_purge_of_nothing_is_none() -> None:
    facts = list[Fact]()
    report = Report()
    report.add(Telemetry([facts.append]))
    cache = open_store(report=report)

    async with cache.purging():
        pass
    assert not facts

    async with cache.purging(tags=["a", "b"]):
        pass
    async with cache.purging(everything=True):
        pass
    assert facts == [ResponsesPurged(2), ResponsesPurged(0)]


def test_a_write_whose_writer_died_is_given_up_after_ten_seconds() -> None:
    clock = Clock()
    stamps = Stamps(clock=clock)
    cache = open_store(stamps=stamps)
    keep(cache, "products")
    stamps.pend(stamps.cells_of(["products"]))

    clock.now += LIFE - 0.001
    slow = cache.collect("products")
    assert not keep(cache, "products")
    clock.now += 0.002

    assert cache.peek(KEY) is None, "what was stored before is gone for good"
    assert not cache.keep(KEY, "old", TEXT, ttl=60, tags=slow)
    assert keep(cache, "products")
    assert cache.peek(KEY) == "chair"


async def test_a_write_that_takes_longer_than_that_purges_when_it_is_over() -> None:
    clock = Clock()
    cache = open_store(stamps=Stamps(clock=clock))

    async with cache.purging(tags=["products"]):
        clock.now += LIFE + 1
        assert keep(cache, "products"), "it was given up"

    assert cache.peek(KEY) is None


DYING = """
import os, sys, anyio
from sipup_middleware.store import Store

async def main():
    async with Store(runtime_dir=sys.argv[1]).handle().purging(tags=["products"]):
        os._exit(9)

anyio.run(main)
"""


def test_what_a_killed_process_announced_is_pending_in_every_other(tmp_path: Path) -> None:
    cache = Store(runtime_dir=str(tmp_path)).handle()
    keep(cache, "products")
    keeping = cache.keep(b"else", "table", TEXT, ttl=60, tags=cache.collect("else"))

    subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], check=False)

    assert cache.peek(KEY) is None
    assert not keep(cache, "products")
    assert keeping
    assert cache.peek(b"else") == "table"
