"""Counting on Redis or Valkey: one script a request, whatever the number of rules.

A counter is one string under ``sip:1:l:<name>:<period>:<client's digest>``, with the strategy's letter before
the digest where it is no sliding window; a client's bans and strikes are one under ``sip:1:l:!<who>:...``.
`scripts` says what they hold; each expires when it matters no more. The server's own clock is asked, so that
all workers share one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from random import random
from typing import Any

from sipup_middleware.bridge import Home
from sipup_middleware.errors import MissingExtra, StoreUnavailable
from sipup_middleware.ratelimit.backoff import Backoff, milliseconds, swing
from sipup_middleware.ratelimit.bans import no_backoff
from sipup_middleware.ratelimit.policy import Decision, Rule, made
from sipup_middleware.ratelimit.questions import (
    Arg,
    Decides,
    client_key,
    counter_key,
    digest,
    evaluating,
    loading,
    spec,
    terms,
)
from sipup_middleware.ratelimit.scripts import (
    BAN,
    BANNED,
    COUNT,
    COUNT_AND_STRIKE,
    DECIDE,
    PEEK,
    STRIKE,
    Script,
)
from sipup_middleware.ratelimit.wire import Refusal, packed, word
from sipup_middleware.redis_pool import redis_pool

try:
    from redis.asyncio import BlockingConnectionPool

    from sipup_middleware.ratelimit.line import Client
except ImportError as error:
    raise MissingExtra("ratelimit") from error

__all__ = ("RedisLimiter", "check_url")

_NUMBERS = 5  # of a rule that is peeked at


class RedisLimiter:
    """Counts on a server. Raises `StoreUnavailable`, and nothing else, within *timeout* seconds."""

    def __init__(  # noqa: PLR0913 (named, but for where and what)
        self,
        home: Home,
        url: str,
        rules: Sequence[Rule],  # noqa: ARG002 (as every limiter is made)
        *,
        timeout: float,
        clock: Callable[[], float] | None = None,
        backoff: Backoff | None = None,
        draw: Callable[[], float] = random,
    ) -> None:
        self._home = home
        self._timeout = timeout
        self._clock = clock
        self._client = Client(_pool(url, timeout))
        self._backoff = backoff
        self._terms = "" if backoff is None else terms(backoff)
        self._draw = draw
        self._decides = Decides(bans=backoff is not None)

    async def decide(self, asks: Sequence[tuple[Rule, str]]) -> Decision:
        """Count one request against every rule, or against none if one refuses; *asks* is not empty.

        Late rules are looked at and not counted: that is for `count`.
        """
        swung = b"" if self._backoff is None else word(self._swung(self._backoff).encode())
        command = self._decides.write(asks, word(str(self._now()).encode()), swung)
        reply = await self._home.call(self._ask, command, DECIDE)
        allowed, at, remaining, reset, reset_at, banned, *shadowed = reply
        rule = asks[at - 1][0].name if at else ""
        names = tuple([asks[each - 1][0].name for each in shadowed]) if shadowed else ()
        return made(Decision, (allowed > 0, rule, remaining, reset, reset_at, banned > 0, names))

    async def count(self, asks: Iterable[tuple[Rule, str]]) -> None:
        """Count an answered request against the late rules among *asks*, whatever is left of them."""
        late = [ask for ask in asks if ask[0].late]
        if late:
            await self._each(COUNT, late)

    async def count_and_strike(self, asks: Iterable[tuple[Rule, str]], who: str, name: str) -> float:
        """Do so, and hold it against a client, in one command; return the seconds of its ban, or 0."""
        late = [ask for ask in asks if ask[0].late]
        if self._backoff is None:
            await self.count(late)
            return 0
        script = COUNT_AND_STRIKE if late else STRIKE
        struck = client_key(who, digest(name))
        return float(await self._each(script, late, struck, self._swung(self._backoff))) / 1000

    async def peek(self, asks: Iterable[tuple[Rule, str]]) -> list[Decision]:
        """Return what each rule would say now, and what is left before it is asked; counts nothing."""
        asked = list(asks)
        told = await self._each(PEEK, asked) if asked else []
        rows = (told[start : start + _NUMBERS] for start in range(0, len(told), _NUMBERS))
        return [Decision(bool(allowed), asked[at - 1][0].name, *rest) for allowed, at, *rest in rows]

    async def reset(self, rule: Rule, name: str) -> None:
        """Count a client anew."""
        await self._delete(counter_key(rule, digest(name)))

    async def ban(self, who: str, name: str, seconds: float) -> None:
        """Refuse a client whatever it asks, for *seconds* from now.

        Raises `ConfigurationError` where there is no `Backoff`: bans would not be looked up.
        """
        if self._backoff is None:
            raise no_backoff()
        lasting = milliseconds(seconds), milliseconds(self._backoff.forget)
        await self._run(BAN, [client_key(who, digest(name))], [self._now(), *lasting])

    async def unban(self, who: str, name: str) -> None:
        """Forget a client's ban and what led to it."""
        await self._delete(client_key(who, digest(name)))

    async def banned_for(self, who: str, name: str) -> float:
        """Return the seconds that a client is still banned; 0 = it is not."""
        return float(await self._run(BANNED, [client_key(who, digest(name))], [self._now()])) / 1000

    async def ping(self) -> None:
        """Ask the server whether it answers, and make the script known to it."""
        await self._home.call(self._ask, loading(DECIDE))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._home.call(self._client.aclose)

    def _now(self) -> Arg:
        return "" if self._clock is None else milliseconds(self._clock())

    def _swung(self, backoff: Backoff) -> str:
        return f"{self._terms}:{swing(backoff, self._draw())!r}"

    async def _each(self, script: Script, asks: Sequence[tuple[Rule, str]], *struck: str) -> Any:  # noqa: ANN401 (the script's reply)
        """Run *script* with the rules of *asks*; *struck* are a client's key and the terms of its ban."""
        keys = [*(counter_key(rule, digest(name)) for rule, name in asks), *struck[:1]]
        return await self._run(script, keys, [self._now(), *(spec(rule) for rule, _ in asks), *struck[1:]])

    async def _run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:  # noqa: ANN401 (the script's reply)
        return await self._home.call(self._ask, evaluating(script, keys, args), script)

    async def _delete(self, key: str) -> None:
        await self._home.call(self._ask, packed("DEL", key))

    async def _ask(self, command: bytes, script: Script | None = None) -> Any:  # noqa: ANN401 (the server's answer)
        """Send a command; a server that does not know its *script* is given that, and asked once more."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            try:
                return await self._client.ask(command, deadline)
            except Refusal as refusal:
                if script is None or refusal.code != "NOSCRIPT":
                    raise
            await self._client.ask(loading(script), deadline)
            return await self._client.ask(command, deadline)
        except Refusal as refusal:
            raise StoreUnavailable(refusal.code) from None
        except Exception as error:  # noqa: BLE001 (whatever a client library raises, the server did not answer)
            raise StoreUnavailable(type(error).__name__) from None


def check_url(url: str) -> None:
    """Raise `ConfigurationError` if *url* cannot be one of a server; connects to nothing."""
    _pool(url, 1)


def _pool(url: str, timeout: float) -> BlockingConnectionPool:
    return redis_pool(url, timeout=timeout, option="RateLimit.storage", extra="ratelimit")
