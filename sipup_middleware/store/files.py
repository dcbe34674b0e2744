"""How one cached thing looks as a file; every call blocks, and follows no symbolic link.

It is written aside and then put in its place at once, so that no reader finds half of it, and it holds its
full key, its deadline and a checksum.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from stat import S_ISREG
from struct import Struct
from zlib import crc32

__all__ = ("ASIDE", "name_of", "on_disk", "open_folder", "pack", "read_file", "unpack", "write_file")

ASIDE = ".new-"
"""What the name of a file begins with that is not in its place yet."""

_VERSION = b"f1"
_CHECKSUM = slice(2, 6)
_HEAD = Struct(">dH")
_BLOCK = 4096
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def open_folder(path: str | Path, above: int | None, *, make: bool) -> Iterator[int]:
    """Open the folder *path* in the folder *above*, where there is one; *make* it, 0700, if it is missing."""
    try:
        folder = os.open(path, _FOLDER, dir_fd=above)
    except FileNotFoundError:
        if not make:
            raise
        with suppress(FileExistsError):
            os.mkdir(path, 0o700, dir_fd=above)
        folder = os.open(path, _FOLDER, dir_fd=above)
    try:
        yield folder
    finally:
        os.close(folder)


def read_file(name: str, folder: int) -> bytes:
    """Return what a file holds; nothing where it is no file."""
    try:
        file = os.open(name, _READ, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a symbolic link
            return b""
        raise
    with os.fdopen(file, "rb", buffering=0) as reader:
        return reader.read() if S_ISREG(os.fstat(file).st_mode) else b""


def write_file(name: str, folder: int, content: bytes) -> None:
    """Put *content* in its place at once; not flushed to the disk, for a checksum tells what a crash left."""
    aside = f"{ASIDE}{token_hex(8)}"
    file = os.open(aside, _WRITE, 0o600, dir_fd=folder)
    try:
        with os.fdopen(file, "wb") as writer:
            writer.write(content)
        os.replace(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside, dir_fd=folder)
        raise


def name_of(key: str) -> str:
    """Return the name of the file that holds *key*."""
    return sha256(key.encode()).hexdigest()


def on_disk(size: int) -> int:
    """Return what a file of *size* bytes occupies."""
    return -(-size // _BLOCK) * _BLOCK


def pack(key: bytes, data: bytes, deadline: float) -> bytes:
    """Return the content of the file."""
    rest = b"%b%b%b" % (_HEAD.pack(deadline, len(key)), key, data)
    return b"%b%b%b" % (_VERSION, crc32(rest).to_bytes(4, "big"), rest)


def unpack(key: bytes, content: bytes, now: float) -> bytes | None:
    """Return the data that was packed under *key*; None where it is anything else, or over."""
    rest = memoryview(content)[_CHECKSUM.stop :]
    if len(rest) < _HEAD.size or content[: _CHECKSUM.start] != _VERSION:
        return None
    if int.from_bytes(content[_CHECKSUM], "big") != crc32(rest):
        return None
    deadline, length = _HEAD.unpack_from(rest)
    start = _HEAD.size + length
    if rest[_HEAD.size : start] != key or deadline <= now:
        return None
    return bytes(rest[start:])
