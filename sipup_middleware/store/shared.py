"""The stamps that hosts share, on Redis or Valkey: what `link` asks of it, on its asyncio loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

from sipup_middleware.errors import MissingExtra, StoreUnavailable
from sipup_middleware.redis_pool import redis_pool
from sipup_middleware.store.messages import BATCH, BLOCK, EVERYTHING, Head, Message, name_of
from sipup_middleware.store.scripts import FINISH, LINK, PEND, STAMPS

try:
    from redis.asyncio import Redis
    from redis.exceptions import ResponseError
except ImportError as error:
    raise MissingExtra("redis") from error

__all__ = ("SharedStamps",)

_Args = list[str | bytes | int]
_PREFIX = "sip:1:t:"
_HEAD, _LOG = f"{_PREFIX}!head", f"{_PREFIX}!log"
_LOST = 1.0
"""Seconds beyond those of its wait after which a listener hangs up."""


class SharedStamps:
    """An `Exchange`; what must not wait answers within *timeout* seconds."""

    def __init__(self, url: str, timeout: float, *, connections: int) -> None:
        self._timeout = timeout
        self._pool = redis_pool(
            url, timeout=timeout, option="Store.url", extra="redis", connections=connections
        )
        self._client: Redis = Redis(connection_pool=self._pool)
        self._client.set_response_callback("XREAD", _as_it_is)  # type: ignore[arg-type]  # (redis-py)
        self._link, self._pend, self._finish, self._stamps = map(
            self._client.register_script, (LINK, PEND, FINISH, STAMPS)
        )

    async def link(self) -> Head:
        """Begin, or go on: agree on a secret, learn what was last told and whether the server is another."""
        async with self._deadline(max(self._timeout, _LOST)):
            run = await self._run()
            mine = token_hex(16)
            secret, number, rows = await self._link(
                keys=[_HEAD, _LOG, _key(EVERYTHING)], args=[mine, name_of(mine), run]
            )
            messages = await self._read_log(reversed(rows))
            return Head(secret.decode(), int(number), messages, run)

    async def listen(self, number: int, /) -> Head:
        """Wait for messages after *number*, for `BLOCK` seconds at most."""
        async with self._deadline(BLOCK + _LOST):
            talk = self._client.pipeline(transaction=False)
            talk.xread({_LOG: f"{number}-0"}, count=BATCH, block=int(1000 * BLOCK))
            talk.hmget(_HEAD, ["e", "n"])
            heard, (name, last) = await talk.execute()
            rows = (heard.popitem()[1] if isinstance(heard, dict) else heard[0][1]) if heard else ()
            return Head((name or b"").decode(), int(last or 0), await self._read_log(rows))

    async def tell(self, name: str, message: Message, /) -> bool:
        """Purge on the server and tell all hosts; False = the secret is no longer the one of this *name*."""
        script = self._pend if message.is_pending else self._finish
        args: _Args = [name, message.host, message.token, b"".join(message.digests)]
        async with self._deadline(self._timeout):
            return bool(await script(keys=[_HEAD, _LOG, *map(_key, message.digests)], args=args))

    async def stamps(
        self, name: str, digests: Sequence[bytes], life: float, /
    ) -> tuple[int, list[str]] | None:
        """Return the number of the last message, and a stamp a digest that is kept for *life* seconds."""
        async with self._deadline(self._timeout):
            args: _Args = [name, token_hex(8), int(1000 * life) + 1]
            told = await self._stamps(keys=[_HEAD, *map(_key, digests)], args=args)
            return None if told is None else (int(told[0]), [stamp.decode() for stamp in told[1:]])

    async def read(self, digests: Sequence[bytes], /) -> list[str]:
        """Return the stamps of *digests*; an empty one is missing."""
        async with self._deadline(self._timeout):
            found = await self._client.mget([_key(digest) for digest in digests])
            return [(stamp or b"").decode() for stamp in found]

    async def aclose(self) -> None:
        """Close every connection."""
        async with self._deadline(_LOST):
            await self._pool.disconnect()

    async def _read_log(self, rows: Iterable[Any]) -> tuple[Message, ...]:
        """Return the messages; where somebody else wrote one, nobody can go on: all begin anew."""
        try:
            return tuple(map(_message, rows))
        except (ValueError, LookupError, TypeError, AttributeError):
            await self._client.delete(_HEAD, _LOG)
            raise

    async def _run(self) -> str:
        """Return what changes when the server is another or was started anew."""
        try:
            return str((await self._client.info("server"))["run_id"])
        except (ResponseError, KeyError):  # it does not say: then it is another each time
            return token_hex(20)

    @asynccontextmanager
    async def _deadline(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except Exception as error:  # noqa: BLE001 (a connection closed under redis-py may raise anything)
            raise StoreUnavailable(type(error).__name__) from None


def _key(digest: bytes) -> str:
    return f"{_PREFIX}{digest.hex()}"


def _as_it_is(reply: Any, **_: Any) -> Any:  # noqa: ANN401 (the server's reply)
    return reply


def _message(row: Any) -> Message:  # noqa: ANN401 (the server's reply)
    number, flat = row
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    blob = fields[b"d"]
    digests = tuple(blob[at : at + 16] for at in range(0, len(blob), 16))
    host, kind, token = (fields[name].decode() for name in (b"h", b"k", b"t"))
    return Message(host, token, digests, kind == "p", int(number.partition(b"-")[0]))
