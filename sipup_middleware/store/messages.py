"""What hosts tell each other of purges, and what they need of the server between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

__all__ = ("BATCH", "BLOCK", "EVERYTHING", "Exchange", "Head", "Message", "name_of")

BATCH = 1000
"""Messages that are heard at once."""

BLOCK = 0.4
"""Seconds that a listener waits for a message before it asks again."""

EVERYTHING = bytes(16)
"""The digest that everything carries."""


@dataclass(frozen=True, slots=True)
class Message:
    """A purge, as all hosts are told of it."""

    host: str
    token: str
    """Of the write that it is for; "" = one that was not announced."""

    digests: tuple[bytes, ...]

    is_pending: bool = False
    """Whether the write is announced, or over."""

    number: int = 0
    """Its place in the order of all, which the server gives it."""


@dataclass(frozen=True, slots=True)
class Head:
    """How things stood when the server was asked."""

    secret: str
    """That by which tags are digested; while listening, only its name."""

    number: int
    """Of the last message."""

    messages: tuple[Message, ...]

    run: str = ""
    """Another where the server is another, or was started anew."""


class Exchange(Protocol):
    """The server, on an asyncio loop. Raises `StoreUnavailable` within its timeout, and nothing else."""

    async def link(self) -> Head:
        """Begin, or go on: agree on a secret, learn where the messages stand, and the last of them."""

    async def listen(self, number: int, /) -> Head:
        """Wait for messages after *number*, for `BLOCK` seconds at most; return the next `BATCH`."""

    async def tell(self, name: str, message: Message, /) -> bool:
        """Purge there, and tell all hosts; False = the secret is no longer the one of this *name*."""

    async def stamps(
        self, name: str, digests: Sequence[bytes], life: float, /
    ) -> tuple[int, list[str]] | None:
        """Return the number of the last message and a stamp a digest, kept for *life* seconds.

        None = the secret is another, or a write is pending.
        """

    async def read(self, digests: Sequence[bytes], /) -> list[str]:
        """Return the stamps of *digests*; an empty one is missing."""

    async def aclose(self) -> None:
        """Close every connection."""


def name_of(secret: str) -> str:
    """Return what a *secret* is called where it is not to be told."""
    return blake2b(secret.encode(), digest_size=8).hexdigest()
