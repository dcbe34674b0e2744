"""Two hosts of two workers write and read one row as fast as they can, and are stopped now and then."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sipup_middleware.services import Valkey

pytestmark = pytest.mark.live

WORKER = """
import random, sys, time
import anyio, redis
from sipup_middleware.store import Store
from tests.store.doubles import TEXT

url, directory, seconds = sys.argv[1:]
database = redis.Redis.from_url(url, decode_responses=True)
end = time.monotonic() + float(seconds)
counts = dict.fromkeys(("write", "read", "hit"), 0)

async def main():
    async with Store(url, timeout=1, runtime_dir=directory).open() as cache:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(work, cache)
        print(*counts.values(), flush=True)

async def work(cache):
    while time.monotonic() < end:
        await (write if random.random() < 0.005 else read)(cache)
        await anyio.sleep(random.random() / 500)

async def write(cache):
    counts["write"] += 1
    if random.random() < 0.5:
        async with cache.purging(tags=["row"]):
            await anyio.sleep(random.random() / 500)
            version = database.incr("row")
    else:
        version = database.incr("row")
        await cache.invalidate(tags=["row"])
    database.zadd("returned", {version: time.monotonic()})
    database.zadd(f"returned:{directory}", {version: version})

async def read(cache):
    counts["read"] += 1
    everywhere = database.zrevrangebyscore("returned", time.monotonic() - 1, 0, start=0, num=1)
    here = database.zrevrange(f"returned:{directory}", 0, 0)
    least = max(map(int, everywhere + here), default=0)
    value = await cache.get(b"row", TEXT)
    if value is None:
        tags = cache.collect(*(["row"] if random.random() < 0.5 else []))
        value = database.get("row") or "0"
        await anyio.sleep(random.random() / 500)
        tags.add("row")
        cache.keep(b"row", value, TEXT, ttl=60, tags=tags)
        await cache.share(b"row", value, TEXT, ttl=60, tags=tags)
    else:
        counts["hit"] += 1
        assert int(value) >= least, (value, least)

anyio.run(main)
"""


def test_nobody_is_served_what_is_older_than_promised(own_valkey: Valkey, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, own_valkey.url, str(tmp_path / name), "4"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "aabb"
    ]
    for _ in range(2):
        time.sleep(0.5)
        stopped = random.choice(workers)  # noqa: S311 (whichever)
        stopped.send_signal(signal.SIGSTOP)
        time.sleep(1.2)
        stopped.send_signal(signal.SIGCONT)
    told = [worker.communicate(timeout=60)[0] for worker in workers]

    assert [worker.returncode for worker in workers] == [0] * 4
    writes, reads, hits = (sum(map(int, column)) for column in zip(*map(str.split, told), strict=True))
    assert writes
    assert reads / 5 < hits < reads, "most were served, and some were not"
