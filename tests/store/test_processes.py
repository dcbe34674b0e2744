"""Several processes, one directory: what one purges, none serves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store import Store
from sipup_middleware.store.stamps import GENERATION, Stamps
from tests.store.doubles import TEXT, Clock

WORKER = """
import sys, anyio
from sipup_middleware.store import Store
from tests.store.doubles import TEXT

cache = Store(runtime_dir=sys.argv[1]).handle()
print("ready", flush=True)
for line in sys.stdin:
    order, _, name = line.strip().partition(" ")
    if order == "keep":
        print(cache.keep(b"key", "chair", TEXT, ttl=60, tags=cache.collect(name)), flush=True)
    elif order == "peek":
        print(cache.peek(b"key"), flush=True)
    elif order == "purge":
        print(anyio.run(lambda: cache.invalidate(tags=[name])), flush=True)
    elif order == "clear":
        print(anyio.run(cache.clear), flush=True)
"""

STORM = """
import sys, anyio
from sipup_middleware.store import Store
from tests.store.doubles import TEXT

cache = Store(runtime_dir=sys.argv[1]).handle()
sys.stdin.readline()

async def main():
    for number in range(1500):
        tag = f"{sys.argv[2]}:{number % 50}"
        for other in range(20):
            cache.keep(b"%d" % other, tag, TEXT, ttl=60, tags=cache.collect(tag))
        await cache.invalidate(tags=[tag])
        assert not any(cache.peek(b"%d" % other) for other in range(20)), number
    print(cache._stamps.secret.hex(), flush=True)

anyio.run(main)
"""


class Worker:
    """A process that keeps, looks and purges as it is told."""

    def __init__(self, directory: Path, program: str = WORKER, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, str(directory), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, order: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self.hear()

    def hear(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


@contextmanager
def workers(directory: Path, count: int) -> Iterator[list[Worker]]:
    made = [Worker(directory) for _ in range(count)]
    assert [each.hear() for each in made] == ["ready"] * count
    yield made
    for each in made:
        each.end()


def test_a_purge_in_one_process_is_a_miss_in_every_other_at_once(tmp_path: Path) -> None:
    cache = Store(runtime_dir=str(tmp_path)).handle()
    cache.keep(b"key", "chair", TEXT, ttl=60, tags=cache.collect("products"))
    with workers(tmp_path, 2) as (one, other):
        assert [each.tell("keep products") for each in (one, other)] == ["True"] * 2
        assert [each.tell("peek") for each in (one, other)] == ["chair"] * 2

        one.tell("purge orders")
        assert [cache.peek(b"key"), other.tell("peek")] == ["chair"] * 2

        one.tell("purge products")
        assert [cache.peek(b"key"), one.tell("peek"), other.tell("peek")] == [None, "None", "None"]

        other.tell("keep products")
        anyio.run(lambda: cache.invalidate(tags=["products"]))
        assert other.tell("peek") == "None"

        other.tell("keep products")
        one.tell("clear")
        assert other.tell("peek") == "None"


def test_a_purge_in_another_process_during_a_fill_prevents_storing(tmp_path: Path) -> None:
    cache = Store(runtime_dir=str(tmp_path)).handle()
    with workers(tmp_path, 1) as (other,):
        early, late = cache.collect("products"), cache.collect()

        other.tell("purge products")
        late.add("products")

        assert not cache.keep(b"key", "chair", TEXT, ttl=60, tags=early)
        assert not cache.keep(b"key", "chair", TEXT, ttl=60, tags=late)


def test_processes_that_begin_and_purge_at_once_lose_no_purge(tmp_path: Path) -> None:
    storm = [Worker(tmp_path, STORM, name) for name in "abcd"]

    for each in storm:
        assert each._process.stdin
        each._process.stdin.write("go\n")
        each._process.stdin.flush()
    secrets = {each.hear() for each in storm}
    for each in storm:
        each.end()

    assert len(secrets) == 1, "one of them began the file"
    assert secrets != {""}


def test_stamps_outlive_their_processes(tmp_path: Path) -> None:
    before = Stamps(str(tmp_path))
    before.purge([before.cell("products")])

    after = Stamps(str(tmp_path))

    assert after.cell("products") == before.cell("products")
    assert after.cells[after.cell("products")] == before.cells[before.cell("products")] != 0
    assert after.cells[GENERATION] == before.cells[GENERATION]


def test_stamps_of_before_the_host_started_are_forgotten(tmp_path: Path) -> None:
    before = Stamps(str(tmp_path), clock=Clock(5000))
    before.purge([before.cell("products")])
    generation = before.cells[GENERATION]

    after = Stamps(str(tmp_path), clock=Clock(10))

    assert after.cells[GENERATION] != generation
    assert after.cells[after.cell("products")] == 0


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    Stamps(str(tmp_path / "run"))

    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert [each.stat().st_mode & 0o777 for each in (tmp_path / "run").iterdir()] == [0o600]


def test_a_file_cut_short_by_a_crash_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "stamps.1").write_bytes(b"\0" * 100)

    stamps = Stamps(str(tmp_path))

    assert stamps.cells[GENERATION]


@pytest.mark.parametrize("trap", ["symlink", "no directory", "directory"])
def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path, trap: str) -> None:
    directory = tmp_path / "missing" / "run" if trap == "no directory" else tmp_path
    if trap == "symlink":
        (tmp_path / "stamps.1").symlink_to(tmp_path / "elsewhere")
    if trap == "directory":
        (tmp_path / "stamps.1").mkdir()

    with pytest.raises(ConfigurationError, match=r"Store\.runtime_dir"):
        Stamps(str(directory))
