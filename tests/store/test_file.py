"""A directory as a second tier: private, bounded, warm over restarts, and never a reason to fail."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store import OpenStore, Store
from sipup_middleware.store.directory import Directory, place_of
from sipup_middleware.telemetry import Telemetry
from tests.store.conftest import PATIENT
from tests.store.doubles import TEXT, Clock

MIB = 1 << 20


def files(directory: Path) -> list[Path]:
    return [path for path in (directory / "entries.1").rglob("*") if not path.is_dir()]


def on_disk(directory: Path) -> int:
    used = 0
    for path in files(directory):
        with suppress(FileNotFoundError):  # swept meanwhile
            used += -(-path.lstat().st_size // 4096) * 4096
    return used


def age(path: Path, seconds: float) -> None:
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


async def fill(cache: OpenStore, value: str = "chair", key: bytes = b"key") -> None:
    await cache.share(key, value, TEXT, ttl=60, tags=cache.collect())


@pytest.mark.parametrize(
    ("url", "path", "max_bytes"),
    [
        ("file:///var/cache/app", "/var/cache/app", 1 << 30),
        ("file:///var/my%20cache?max_bytes=5000000", "/var/my cache", 5_000_000),
        ("file:///a?max_bytes=2g", "/a", 2 << 30),
        ("file:///a?max_bytes=1024k", "/a", MIB),
    ],
)
def test_a_url_names_a_directory_and_its_bound(url: str, path: str, max_bytes: int) -> None:
    assert place_of(url) == (Path(path), max_bytes)


def test_a_directory_may_be_told_from_where_the_process_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert place_of("file://./cache") == (tmp_path / "cache", 1 << 30)


@pytest.mark.parametrize(
    "url",
    [
        "file://",
        "file://cache",
        "file://host/cache",
        "file:///a%00b",
        "file:///a?",
        "file:///a?max_bytes=",
        "file:///a?max_bytes=1k",
        "file:///a?max_bytes=-5",
        "file:///a?max_bytes=5t",
        "file:///a?size=5g",
        "file:///a?max_bytes=5g&x=1",
    ],
)
def test_a_url_that_names_none_is_refused(url: str) -> None:
    if url == "file:///a?":
        assert place_of(url) == place_of("file:///a")
        return

    with pytest.raises(ConfigurationError, match=r"Store\.url"):
        Store(url)


def test_what_is_written_is_read_by_its_key_until_its_time_is_over(tmp_path: Path) -> None:
    clock = Clock()
    directory = Directory(tmp_path, MIB, clock=clock)
    directory.write("key", b"chair", 10.5)
    directory.write("other", b"", 1000)

    assert directory.read("key") == b"chair"
    assert directory.read("other") == b""
    assert directory.read("another") is None

    clock.now += 10.5
    assert directory.read("key") is None
    assert len(files(tmp_path)) == 1, "what is over is removed"
    assert directory.read("other") == b""


def test_everything_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Directory(tmp_path / "new" / "cache", MIB).write("key", b"chair", 60)
    finally:
        os.umask(before)

    made = [tmp_path / "new" / "cache", *(tmp_path / "new" / "cache").rglob("*")]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700] * 4 + [0o600]


@given(data=st.data())
def test_a_damaged_file_is_a_miss_and_removed(data: st.DataObject, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("damaged")
    directory = Directory(path, MIB)
    directory.write("key", b"chair", 60)
    (file,) = files(path)
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from([whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole + b"x"])
    )
    file.write_bytes(damaged)

    assert directory.read("key") is None
    assert files(path) == []
    shutil.rmtree(path)


def test_the_file_of_another_key_is_a_miss_and_removed(tmp_path: Path) -> None:
    directory = Directory(tmp_path, MIB)
    directory.write("key", b"chair", 60)
    (mine,) = files(tmp_path)
    directory.write("other", b"table", 60)
    (other,) = {*files(tmp_path)} - {mine}
    shutil.copy(other, mine)

    assert directory.read("key") is None
    assert files(tmp_path) == [other]


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "cache", MIB)
    directory.write("key", b"chair", 60)
    (file,) = files(tmp_path / "cache")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")

    assert directory.read("key") is None
    assert not file.is_symlink(), "the link is removed"
    assert (tmp_path / "elsewhere").exists(), "and nothing else"

    file.symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    directory.write("key", b"table", 60)
    assert directory.read("key") == b"table"
    assert (tmp_path / "elsewhere").read_bytes() == before


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_folder_that_is_a_symbolic_link_is_not_entered(tmp_path: Path, depth: int) -> None:
    directory = Directory(tmp_path / "cache", MIB)
    directory.write("key", b"chair", 60)
    folder = files(tmp_path / "cache")[0].parents[depth - 1]
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match=r"[Dd]irectory"):
        directory.read("key")
    with pytest.raises(OSError, match=r"[Dd]irectory"):
        directory.write("key", b"table", 60)


def test_entries_where_others_may_write_are_not_trusted(tmp_path: Path) -> None:
    directory = Directory(tmp_path, MIB)
    directory.write("key", b"chair", 60)
    (tmp_path / "entries.1").chmod(0o770)

    with pytest.raises(PermissionError):
        directory.read("key")
    with pytest.raises(PermissionError):
        directory.check()


def test_a_pipe_in_the_place_of_a_file_stops_nobody(tmp_path: Path) -> None:
    directory = Directory(tmp_path, MIB)
    directory.write("key", b"chair", 60)
    (file,) = files(tmp_path)
    file.unlink()
    os.mkfifo(file)

    assert directory.read("key") is None


def test_the_oldest_leave_when_a_sixteenth_was_written_and_the_bound_is_never_exceeded(
    tmp_path: Path,
) -> None:
    directory = Directory(tmp_path, MIB)
    for number in range(300):
        assert directory.write(f"{number}", b"x" * 12_000, 60)
        for path in files(tmp_path):
            age(path, 1)  # a file system's clock may be too coarse to tell which came first
        if directory.is_crowded:
            directory.sweep()

        assert on_disk(tmp_path) <= MIB

    present = [number for number in range(300) if directory.read(f"{number}") is not None]
    assert present == [*range(present[0], 300)], "the youngest, without a gap"
    assert on_disk(tmp_path) > MIB // 2


def test_while_the_oldest_have_not_left_yet_there_is_no_room(tmp_path: Path) -> None:
    directory = Directory(tmp_path, MIB)

    kept = [directory.write(f"{number}", b"x" * 60_000, 60) for number in range(20)]

    assert kept == [True] * 17 + [False] * 3
    assert directory.is_crowded
    directory.sweep()
    assert directory.write("another", b"x" * 60_000, 60)


def test_processes_that_share_a_directory_count_what_the_others_wrote(tmp_path: Path) -> None:
    four = [Directory(tmp_path, MIB) for _ in range(4)]
    for number in range(100):
        for process, each in enumerate(four):
            each.write(f"{process}:{number}", b"x" * 12_000, 60)
            if each.is_crowded:
                each.sweep()

            assert on_disk(tmp_path) <= MIB


def test_one_thing_may_take_a_sixteenth(tmp_path: Path) -> None:
    directory = Directory(tmp_path, MIB)

    assert directory.write("key", b"x" * 65_000, 60)
    assert not directory.write("other", b"x" * 66_000, 60)


def test_what_a_dead_writer_left_aside_is_removed_and_what_is_not_ours_is_left(tmp_path: Path) -> None:
    directory = Directory(tmp_path, MIB)
    directory.write("key", b"chair", 60)
    folder = files(tmp_path)[0].parent
    for name in (".new-dead", ".new-alive", "note"):
        (folder / name).write_bytes(b"x")
    age(folder / ".new-dead", 100)
    age(folder / "note", 100)

    directory.sweep()

    assert {".new-dead", ".new-alive", "note"} & {path.name for path in folder.iterdir()} == {
        ".new-alive",
        "note",
    }
    assert directory.read("key") == b"chair"


def test_a_sweep_of_nothing_and_a_second_sweep_at_once_are_fine(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "missing", MIB)

    directory.sweep()

    assert not directory.is_crowded
    with ThreadPoolExecutor() as threads:
        for each in [threads.submit(directory.sweep) for _ in range(20)]:
            each.result()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_room_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    directory = Directory(tmp_path, MIB)
    directory.write("key", b"chair", 60)

    def full(*_: object, **__: object) -> None:
        raise OSError(number, "full")

    monkeypatch.setattr("sipup_middleware.store.directory.os.replace", full)

    assert not directory.write("other", b"table", 60)
    assert len(files(tmp_path)) == 1
    assert directory.read("key") == b"chair"


PROCESS = """
import sys, anyio
from sipup_middleware.store import Store
from tests.store.doubles import TEXT

async def write(cache):
    for key in (b"kept", b"purged"):
        await cache.share(key, "chair", TEXT, ttl=600, tags=cache.collect(key.decode()))
    await cache.invalidate(tags=["purged"])

async def read(cache):
    print(await cache.get(b"kept", TEXT), await cache.get(b"purged", TEXT))

async def main():
    async with Store(sys.argv[1], timeout=30).open() as cache:
        await globals()[sys.argv[2]](cache)

anyio.run(main)
"""


def test_a_process_that_starts_anew_finds_what_the_one_before_it_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIPUP_RUNTIME_DIR", raising=False)
    url = f"file://{tmp_path}/cache"

    said = [
        subprocess.run(
            [sys.executable, "-c", PROCESS, url, what], capture_output=True, text=True, check=True
        ).stdout
        for what in ("write", "read")
    ]

    assert said == ["", "chair None\n"]


def test_the_directory_shares_the_purges_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIPUP_RUNTIME_DIR", raising=False)
    url = f"file://{tmp_path}/cache"
    assert Store(url)._directory == f"{tmp_path}/cache"

    monkeypatch.setenv("SIPUP_RUNTIME_DIR", "/run/shop")
    assert Store(url)._directory == "/run/shop"
    assert Store(url, runtime_dir="/run/other")._directory == "/run/other"


@pytest.fixture
def patient(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/cache", timeout=PATIENT, runtime_dir=str(tmp_path))


async def test_a_directory_that_is_removed_is_a_miss_and_made_anew(
    patient: Store, tmp_path: Path, anyio_backend: Any
) -> None:
    async with patient.open() as cache:
        await fill(cache)
        await anyio.to_thread.run_sync(shutil.rmtree, tmp_path / "cache")

        assert await cache.get(b"key", TEXT) is None
        await fill(cache)
        assert await cache.get(b"key", TEXT) == "chair"
        assert cache.stats()["errors"] == 0


async def test_a_directory_that_cannot_be_used_is_a_miss_and_counted(
    patient: Store, tmp_path: Path, anyio_backend: Any
) -> None:
    telemetry = Telemetry()
    patient.register(telemetry)
    await anyio.Path(tmp_path / "cache").write_text("a file stands in its place")

    async with patient.open() as cache:
        await fill(cache)
        assert await cache.get(b"key", TEXT) is None
        reading = await telemetry.checks["store:ping"].probe()

        assert cache.stats()["errors"] == 3

    assert reading
    assert reading.status == "fail"
    assert str(tmp_path) not in repr(reading)
    assert telemetry.counter("store.errors", op="set").value == 1


async def test_a_directory_that_can_be_used_is_well(patient: Store, anyio_backend: Any) -> None:
    telemetry = Telemetry()
    patient.register(telemetry)

    async with patient.open():
        reading = await telemetry.checks["store:ping"].probe()

    assert reading
    assert reading.status == "pass"


async def test_a_disk_that_hangs_is_a_miss_within_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hanging: None, anyio_backend: Any
) -> None:
    store = Store(f"file://{tmp_path}/cache", timeout=0.05, runtime_dir=str(tmp_path))

    async with store.open() as cache:
        with anyio.fail_after(10):
            for _ in range(20):
                assert await cache.get(b"key", TEXT) is None

        assert cache.stats()["degraded"] == 1


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reads that end with the test."""
    from threading import Event  # noqa: PLC0415 (here alone)

    end = Event()
    monkeypatch.setattr(Directory, "read", lambda *_: end.wait(30) and None)
    yield
    end.set()


async def test_many_values_stay_under_the_bound(tmp_path: Path, anyio_backend: Any) -> None:
    store = Store(f"file://{tmp_path}/cache?max_bytes=1m", timeout=PATIENT, runtime_dir=str(tmp_path))

    async with store.open() as cache:
        for number in range(200):
            await fill(cache, "x" * 20_000, b"%d" % number)
        used = await anyio.to_thread.run_sync(on_disk, tmp_path / "cache")

    assert MIB // 4 < used <= MIB


def test_a_directory_is_made_with_those_above_it(tmp_path: Path) -> None:
    Store(f"file://{tmp_path}/var/cache/app").handle()

    assert (tmp_path / "var/cache/app").stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made_is_named_by_its_option(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")

    with pytest.raises(ConfigurationError, match=r"a file:// Store\.url"):
        Store(f"file://{tmp_path}/var/cache/app").handle()
