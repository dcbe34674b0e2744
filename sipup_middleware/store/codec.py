"""How a value crosses to the second tier, and what it weighs; never by pickle."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import orjson

from sipup_middleware.errors import ConfigurationError

__all__ = ("Codec", "JsonCodec", "freeze", "thaw")

T = TypeVar("T")


class Codec(Protocol[T]):
    """What the store must know of a value; implementations hold no state."""

    def encode(self, value: T) -> tuple[object, bytes]:
        """Split *value* into metadata that orjson can write, and a raw body."""

    def decode(self, meta: Any, body: bytes) -> T:  # noqa: ANN401 (whatever JSON may hold: the decoder checks it)
        """Join them again; raises ValueError, KeyError or TypeError for what does not fit: a miss."""

    def size(self, value: T) -> int:
        """Return the bytes that *value* occupies in this process."""


class JsonCodec:
    """Values that are kept as their JSON text: what one caller does to its copy, no other sees."""

    def encode(self, value: bytes) -> tuple[object, bytes]:
        """Nothing but a body."""
        return None, value

    def decode(self, meta: object, body: bytes) -> bytes:
        """Check that the body is JSON."""
        if meta is not None:
            raise ValueError("not a JSON value")
        orjson.loads(body)
        return body

    def size(self, value: bytes) -> int:
        """Return the length of the text."""
        return len(value)


def freeze(value: object) -> bytes:
    """Return the JSON text of *value*; raises `ConfigurationError` for what JSON cannot carry."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        kind = type(value).__name__
        raise ConfigurationError(f"a cached value must be JSON-able; this {kind} is not") from error


def thaw(text: bytes) -> Any:  # noqa: ANN401 (whatever JSON may hold)
    """Return a copy of the value that was frozen."""
    return orjson.loads(text)
