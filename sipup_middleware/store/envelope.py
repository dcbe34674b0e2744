"""What the second tier holds: lengths and checksum, the full key, metadata as JSON, the body as it is.

Bytes from a server are not trusted: whatever does not parse, or belongs to another key, is a miss.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from struct import Struct
from typing import Any
from zlib import crc32

import orjson

__all__ = ("VERSION", "Envelope", "pack", "unpack")

VERSION = b"s2"
"""Changes with the format; another version's envelope is a miss, but for the last one's."""

_READ = (VERSION, b"s1")
"""Where there were no digests yet, only cells."""

_FRAME = Struct(">2sIIII")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A value on its way to or from the second tier."""

    meta: Any
    body: bytes
    kept: float
    """When it was stored, on the wall clock."""

    ttl: float
    cells: tuple[int, ...] | tuple[str, ...]
    """What it depends on: cells of this host, or digests that all hosts share."""

    stamps: tuple[int, ...] | tuple[str, ...]
    """What they held."""


def pack(key: bytes, envelope: Envelope) -> bytes:
    """Return *envelope* as bytes; raises TypeError if its metadata is not JSON-able."""
    fields = [envelope.meta, envelope.kept, envelope.ttl, envelope.cells, envelope.stamps]
    meta = orjson.dumps(fields)
    rest = b"%b%b%b" % (key, meta, envelope.body)
    return _FRAME.pack(VERSION, crc32(rest), len(key), len(meta), len(envelope.body)) + rest


def unpack(key: bytes, data: bytes) -> Envelope:
    """Return the envelope that was packed under *key*; raises ValueError or TypeError for anything else."""
    if len(data) < _FRAME.size:
        raise ValueError("shorter than a frame")
    version, checksum, key_length, meta_length, body_length = _FRAME.unpack_from(data)
    rest = memoryview(data)[_FRAME.size :]
    middle = key_length + meta_length
    if version not in _READ or len(rest) != middle + body_length or crc32(rest) != checksum:
        raise ValueError("another version, or damaged")
    if rest[:key_length] != key:
        raise ValueError("another key")
    meta, kept, ttl, cells, stamps = orjson.loads(rest[key_length:middle])
    kept, ttl = float(kept), float(ttl)
    if not (isfinite(kept) and isfinite(ttl)):
        raise ValueError("no time")
    return Envelope(meta, bytes(rest[middle:]), kept, ttl, tuple(cells), tuple(stamps))
