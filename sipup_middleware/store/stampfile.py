"""The file through which the workers of a host share their stamps."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

from sipup_middleware.errors import ConfigurationError

__all__ = ("map_file",)

_OPTIONS = "the directory of Store.runtime_dir, or of a file:// Store.url,"


def map_file(
    path: Path, size: int, begin: Callable[[mmap.mmap], None], *, parents: bool = False
) -> mmap.mmap:
    """Map *size* bytes at *path*; the lock makes one process begin the file and the others wait for it.

    Its directory is made if it is missing, with *parents* also those above.
    Raises `ConfigurationError` where its directory cannot be used.
    """
    import fcntl  # noqa: PLC0415 (not on Windows, where only memory of one process is offered)

    try:
        file = _open(path, parents=parents)
    except OSError as error:
        raise ConfigurationError(f"{_OPTIONS} cannot be used: {error.strerror}") from error
    try:
        if os.fstat(file).st_uid != os.geteuid():
            raise ConfigurationError(f"{_OPTIONS} holds stamps of another user")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_size < size:
            os.posix_fallocate(file, 0, size)  # on a full disk, to write into a hole ends the process
        memory = mmap.mmap(file, size)
        begin(memory)
        return memory
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)  # the map holds the file, and with it the lock, beyond `close`
        os.close(file)


def _open(path: Path, *, parents: bool) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=parents, exist_ok=True)
        return os.open(path, flags, 0o600)
