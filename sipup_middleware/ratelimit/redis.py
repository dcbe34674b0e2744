"""Counting on Redis or Valkey: one script a request, whatever the number of rules.

A counter is one string under ``sip:1:l:<name>:<period>:<client's digest>``, with the strategy's letter before
the digest where it is no sliding window; a client's bans and strikes are one under ``sip:1:l:!<who>:...``.
`scripts` says what they hold; each expires when it matters no more. The server's own clock is asked, so that
all workers share one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from hashlib import blake2b
from random import random
from typing import Any, cast

from sipup_middleware.bridge import Home
from sipup_middleware.errors import MissingExtra, StoreUnavailable
from sipup_middleware.ratelimit.backoff import Backoff, milliseconds, swing
from sipup_middleware.ratelimit.bans import no_backoff
from sipup_middleware.ratelimit.policy import Decision, Rule
from sipup_middleware.ratelimit.scripts import BAN, BANNED, COUNT, DECIDE, PEEK, STRIKE, Script
from sipup_middleware.redis_pool import redis_pool

try:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.exceptions import NoScriptError
except ImportError as error:
    raise MissingExtra("ratelimit") from error

__all__ = ("RedisLimiter", "check_url")

_FLAGS = {(False, False): "e", (True, False): "s", (False, True): "l", (True, True): "b"}
_NUMBERS = 5  # of a rule that is peeked at

Args = list[str | int]


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
        self._pool = _pool(url, timeout)
        self._client = Redis(connection_pool=self._pool)
        self._backoff = backoff
        self._terms = "" if backoff is None else _terms(backoff)
        self._draw = draw

    async def decide(self, asks: Sequence[tuple[Rule, str]]) -> Decision:
        """Count one request against every rule, or against none if one refuses; *asks* is not empty.

        Late rules are looked at and not counted: that is for `count`.
        """
        digests = {name: _digest(name) for _, name in asks}
        keys = [_counter(rule, digests[name]) for rule, name in asks]
        args: Args = [self._now(), len(keys)]
        if self._backoff is None:
            args += [_spec(rule) for rule, _ in asks]
        else:
            clients: dict[str, int] = {}
            for rule, name in asks:
                client = clients.setdefault(_client(rule.who, digests[name]), len(clients) + 1)
                args.append(_spec(rule, client))
            keys += clients
            args.append(self._strike_terms(self._backoff))
        reply = await self._run(DECIDE, keys, args)
        allowed, at, remaining, reset, reset_at, banned, *shadowed = reply
        rule_name = asks[at - 1][0].name if at else ""
        names = tuple(asks[each - 1][0].name for each in shadowed)
        return Decision(bool(allowed), rule_name, remaining, reset, reset_at, bool(banned), names)

    async def count(self, asks: Iterable[tuple[Rule, str]]) -> None:
        """Count an answered request against the late rules among *asks*, whatever is left of them."""
        late = [ask for ask in asks if ask[0].late]
        if late:
            await self._each(COUNT, late)

    async def peek(self, asks: Iterable[tuple[Rule, str]]) -> list[Decision]:
        """Return what each rule would say now, and what is left before it is asked; counts nothing."""
        asked = list(asks)
        told = await self._each(PEEK, asked) if asked else []
        rows = (told[start : start + _NUMBERS] for start in range(0, len(told), _NUMBERS))
        return [Decision(bool(allowed), asked[at - 1][0].name, *rest) for allowed, at, *rest in rows]

    async def reset(self, rule: Rule, name: str) -> None:
        """Count a client anew."""
        await self._delete(_counter(rule, _digest(name)))

    async def strike(self, who: str, name: str) -> float:
        """Count a refusal that somebody else decided; return the seconds of the ban that it led to, or 0."""
        if self._backoff is None:
            return 0
        terms = self._strike_terms(self._backoff)
        return float(await self._run(STRIKE, [_client(who, _digest(name))], [self._now(), terms])) / 1000

    async def ban(self, who: str, name: str, seconds: float) -> None:
        """Refuse a client whatever it asks, for *seconds* from now.

        Raises `ConfigurationError` where there is no `Backoff`: bans would not be looked up.
        """
        if self._backoff is None:
            raise no_backoff()
        args: Args = [self._now(), milliseconds(seconds), milliseconds(self._backoff.forget)]
        await self._run(BAN, [_client(who, _digest(name))], args)

    async def unban(self, who: str, name: str) -> None:
        """Forget a client's ban and what led to it."""
        await self._delete(_client(who, _digest(name)))

    async def banned_for(self, who: str, name: str) -> float:
        """Return the seconds that a client is still banned; 0 = it is not."""
        return float(await self._run(BANNED, [_client(who, _digest(name))], [self._now()])) / 1000

    async def ping(self) -> None:
        """Ask the server whether it answers, and make the script known to it."""
        await self._home.call(self._in_time, self._load)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._home.call(self._pool.disconnect)

    def _now(self) -> str | int:
        return "" if self._clock is None else milliseconds(self._clock())

    def _strike_terms(self, backoff: Backoff) -> str:
        return f"{self._terms}:{swing(backoff, self._draw())!r}"

    async def _each(self, script: Script, asks: Sequence[tuple[Rule, str]]) -> Any:  # noqa: ANN401 (the script's reply)
        keys = [_counter(rule, _digest(name)) for rule, name in asks]
        return await self._run(script, keys, [self._now(), *(_spec(rule) for rule, _ in asks)])

    async def _run(self, script: Script, keys: list[str], args: Args) -> Any:  # noqa: ANN401 (the script's reply)
        return await self._home.call(self._in_time, self._evaluate, script, keys, args)

    async def _delete(self, key: str) -> None:
        await self._home.call(self._in_time, self._client.delete, key)

    async def _in_time(self, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 (the script's reply)
        try:
            async with asyncio.timeout(self._timeout):
                return await function(*args)
        except Exception as error:  # noqa: BLE001 (whatever a client library raises, the server did not answer)
            raise StoreUnavailable(type(error).__name__) from None

    async def _evaluate(self, script: Script, keys: list[str], args: Args) -> Any:  # noqa: ANN401 (the script's reply)
        try:
            return await cast("Awaitable[Any]", self._client.evalsha(script.sha, len(keys), *keys, *args))
        except NoScriptError:  # never seen by this server, or not since it was started
            return await cast("Awaitable[Any]", self._client.eval(script.text, len(keys), *keys, *args))

    async def _load(self) -> None:
        await self._client.script_load(DECIDE.text)


def check_url(url: str) -> None:
    """Raise `ConfigurationError` if *url* cannot be one of a server; connects to nothing."""
    _pool(url, 1)


def _pool(url: str, timeout: float) -> BlockingConnectionPool:
    return redis_pool(url, timeout=timeout, option="RateLimit.storage", extra="ratelimit")


def _counter(rule: Rule, digest: str) -> str:
    return f"sip:1:l:{rule.counter}:{digest}"


def _client(who: str, digest: str) -> str:
    return f"sip:1:l:!{who}:{digest}"


def _spec(rule: Rule, client: int = 0) -> str:
    """Return *rule* as the scripts read it; *client* is whose ban it meets."""
    flag = _FLAGS[rule.shadow, rule.late]
    return f"{rule.strategy[0]}:{rule.amount}:{rule.period}:{rule.cost}:{rule.most}:{flag}:{client}"


def _terms(backoff: Backoff) -> str:
    """Return *backoff* as the scripts read it, but for the `swing`."""
    within, base, longest, forget = map(
        milliseconds, (backoff.within, backoff.base, backoff.max, backoff.forget)
    )
    return f"{backoff.after}:{within}:{base}:{float(backoff.factor)!r}:{longest}:{forget}"


def _digest(name: str) -> str:
    """Bounded, and the same in every worker; no client's name reaches the server."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
