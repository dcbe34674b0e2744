r"""What crosses the wire to Redis or Valkey, as far as scripts need it: RESP2 (redis.io, "Protocol spec").

Packed by us rather than by redis-py, which looks at every word of every command anew::

    packed("DEL", "key")                 # b"*2\r\n$3\r\nDEL\r\n$3\r\nkey\r\n"
    unpacked(b":1\r\n:2\r\n", 0)         # (1, 4): the reply, and where the next one begins
"""

from __future__ import annotations

from typing import Any

__all__ = ("CutShort", "Refusal", "packed", "unpacked", "word")

_ARRAY, _BULK, _ERROR, _INTEGER, _NULL, _TEXT = b"*$-:_+"


class CutShort(Exception):
    """Raised where the rest of a reply is still on its way."""


class Refusal(Exception):
    """What a server answers that did not do as it was asked; *code* is its first word, such as ``OOM``."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def word(text: bytes) -> bytes:
    """Return one word of a command as it is sent."""
    return b"$%d\r\n%b\r\n" % (len(text), text)


def packed(*words: str | int) -> bytes:
    """Return a command as it is sent."""
    return b"*%d\r\n" % len(words) + b"".join(word(str(each).encode()) for each in words)


def unpacked(data: bytes, at: int) -> tuple[Any, int]:
    """Return the reply that begins *at*, and where the next one does; a server's error is a `Refusal`.

    Raises `CutShort` for half a reply, `ValueError` for what is none.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        raise CutShort
    kind, told, after = data[at], data[at + 1 : end], end + 2
    if kind == _INTEGER:
        return int(told), after
    if kind == _ARRAY:
        return _array(data, int(told), after)
    if kind == _BULK:
        return _bulk(data, int(told), after)
    if kind == _ERROR:
        return Refusal(told.partition(b" ")[0].decode("latin-1")), after
    if kind == _TEXT:
        return told, after
    if kind == _NULL:  # RESP3's: a URL may ask for it
        return None, after
    raise ValueError("not a reply")


def _array(data: bytes, length: int, at: int) -> tuple[list[Any] | None, int]:
    if length < 0:
        return None, at
    items = []
    for _ in range(length):
        item, at = unpacked(data, at)
        items.append(item)
    return items, at


def _bulk(data: bytes, length: int, at: int) -> tuple[bytes | None, int]:
    if length < 0:
        return None, at
    end = at + length
    if len(data) < end + 2:
        raise CutShort
    return data[at:end], end + 2
