"""A directory of cached things, for the threads of one process or several: every call blocks.

A thing is a file of its own below ``entries.1``, in one of 4,096 folders: what is damaged, over, or another
key's is a miss, and removed. No symbolic link is followed below the directory.

Each process removes the oldest files when it has written a sixteenth of the bound since it last did. So one
process never exceeds the bound; of several that share the directory, each beyond the fourth may, by as much.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IWGRP, S_IWOTH
from threading import Lock
from time import time
from urllib.parse import unquote

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store.files import (
    ASIDE,
    name_of,
    on_disk,
    open_folder,
    pack,
    read_file,
    unpack,
    write_file,
)

__all__ = ("Directory", "place_of")

_FORM = "file://./cache or file:///var/cache/app, with ?max_bytes=512m or without"
_MAX_BYTES = re.compile(r"(?:max_bytes=([0-9]{1,15})([kmg]?))?")
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30}
_DEFAULT = 1 << 30
_LEAST = 1 << 20

_ENTRIES = "entries.1"
_NAME = re.compile("[0-9a-f]{64}")
_ABANDONED = 60.0
"""Seconds until a file that is still aside is one whose writer died."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def place_of(url: str) -> tuple[Path, int]:
    """Return the directory that a ``file://`` *url* names, absolute, and its bound in bytes.

    Raises `ConfigurationError` where it cannot be read.
    """
    path, _, query = url.partition("://")[2].partition("?")
    path, asked = unquote(path), _MAX_BYTES.fullmatch(query)
    if asked is None or not path.startswith(("/", "./", "../")) or "\0" in path:
        raise ConfigurationError(f"Store.url cannot be read: its form is {_FORM}")
    max_bytes = int(asked[1]) << _UNITS[asked[2]] if query else _DEFAULT
    if max_bytes < _LEAST:
        raise ConfigurationError("Store.url's max_bytes must be at least 1m")
    return Path(path).absolute(), max_bytes


class Directory:
    """Things by key, at most *max_bytes* of them on disk; one thing at most a sixteenth of that."""

    def __init__(self, path: Path, max_bytes: int, *, clock: Callable[[], float] = time) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self._clock = clock
        self._lock = Lock()
        self._found = 0
        self._written = 0
        self._swept = self._sweeping = False

    @property
    def is_crowded(self) -> bool:
        """Whether it is time to `sweep`."""
        return not self._sweeping and (not self._swept or self._written > self.max_bytes // 16)

    def read(self, key: str) -> bytes | None:
        """Return what *key* holds."""
        name = name_of(key)
        try:
            with self._folder(name) as folder:
                content = read_file(name, folder)
        except FileNotFoundError:
            return None
        data = unpack(key.encode(), content, self._clock())
        if data is None:
            self._unlink(name)
        return data

    def write(self, key: str, data: bytes, ttl: float) -> bool:
        """Let *key* hold *data* for *ttl* seconds; False = too large, or no room in the bound or on disk."""
        content = pack(key.encode(), data, self._clock() + ttl)
        size = on_disk(len(content))
        if size > self.max_bytes // 16 or not self._reserve(size):
            return False
        name = name_of(key)
        try:
            with self._folder(name, make=True) as folder:
                write_file(name, folder, content)
        except OSError as error:
            self._reserve(-size)
            if error.errno in _FULL:
                return False
            raise
        return True

    def remove(self, key: str) -> None:
        """Let *key* hold nothing."""
        self._unlink(name_of(key))

    def check(self) -> None:
        """Raise OSError where nothing can be stored."""
        with self._entries(make=True) as entries:
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=entries):
                raise PermissionError(errno.EACCES, "not writable")

    def sweep(self) -> None:
        """Remove the oldest until three quarters of the bound are left, and what dead writers left aside."""
        with self._lock:
            if self._sweeping:
                return
            self._sweeping = True
            self._found, self._written = self._found + self._written, 0
        try:
            self._found = self._evict()
            self._swept = True
        finally:
            self._sweeping = False

    def _reserve(self, size: int) -> bool:
        with self._lock:  # other threads write too
            if self._found + self._written + size > self.max_bytes:
                return False
            self._written += size
            return True

    def _evict(self) -> int:
        files = sorted(self._files())
        left = sum(size for _, size, _ in files)
        for _, size, name in files:
            if left <= self.max_bytes // 4 * 3:
                break
            self._unlink(name)
            left -= size
        return left

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """Yield time, size and name of each of our files."""
        abandoned = time() - _ABANDONED
        with suppress(FileNotFoundError), self._entries() as entries:
            for _, _, names, folder in os.fwalk(dir_fd=entries):
                for name in names:
                    with suppress(FileNotFoundError):  # another process was faster
                        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                        if _NAME.fullmatch(name):
                            yield status.st_mtime, on_disk(status.st_size), name
                        elif name.startswith(ASIDE) and status.st_mtime < abandoned:
                            os.unlink(name, dir_fd=folder)

    def _unlink(self, name: str) -> None:
        with suppress(FileNotFoundError), self._folder(name) as folder:
            os.unlink(name, dir_fd=folder)

    @contextmanager
    def _folder(self, name: str, *, make: bool = False) -> Iterator[int]:
        """Open the folder of *name*."""
        with (
            self._entries(make=make) as entries,
            open_folder(name[0], entries, make=make) as outer,
            open_folder(name[1:3], outer, make=make) as folder,
        ):
            yield folder

    @contextmanager
    def _entries(self, *, make: bool = False) -> Iterator[int]:
        """Open the folder that is ours alone: in another's, anybody might put what we then take for ours."""
        if make:
            self.path.mkdir(0o700, parents=True, exist_ok=True)
        with open_folder(self.path / _ENTRIES, None, make=make) as entries:
            status = os.fstat(entries)
            if status.st_uid != os.geteuid() or status.st_mode & (S_IWGRP | S_IWOTH):
                raise PermissionError(errno.EPERM, "others may write there")
            yield entries
