"""Counting on Redis or Valkey: one script a request, whatever the number of rules.

A counter is one string, ``window:current:previous``, under ``sip:1:l:<rule>:<period>:<client's digest>``; it
expires with the last window it matters to. The server's own clock is asked, so that all workers share one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Any, cast

from sipup_middleware.bridge import Home
from sipup_middleware.errors import MissingExtra, StoreUnavailable
from sipup_middleware.ratelimit.policy import Decision, Rule
from sipup_middleware.redis_pool import redis_pool

try:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.exceptions import NoScriptError
except ImportError as error:
    raise MissingExtra("ratelimit") from error

__all__ = ("SCRIPT", "RedisLimiter", "check_url")

SCRIPT = """\
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local states = redis.call('MGET', unpack(KEYS))
local allowed, tightest, least, resets, longest = 1, 0, 0, 0, 0
local writes = {}

local function fading(count, room, period)
  return math.floor(((room + 1) * period - 1) / count)
end

for i = 1, #KEYS do
  local amount, period, cost = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  local window = math.floor(now / period)
  local left = (window + 1) * period - now
  local current, previous = 0, 0
  if states[i] then
    local at, counted, before = string.match(states[i], '^(%d+):(%d+):(%d+)$')
    at = tonumber(at)
    if at == window then
      current, previous = tonumber(counted), tonumber(before)
    elseif at == window - 1 then
      previous = tonumber(counted)
    elseif at and at > window then  -- the server's clock was set back
      current = tonumber(counted)
    end
  end
  local remaining = amount - cost - current - math.floor(previous * left / period)
  if remaining < 0 then
    local room, wait = amount - cost, 0
    if current <= room then
      wait = left - fading(previous, room - current, period)
    else
      wait = left + math.max(0, period - fading(current, room, period))
    end
    if wait > longest then
      allowed, tightest, longest = 0, i, wait
    end
  elseif allowed == 1 then
    if tightest == 0 or remaining < least then
      tightest, least, resets = i, remaining, left
    end
    local state = string.format('%d:%d:%d', window, current + cost, previous)
    writes[i] = {state, string.format('%d', left + period)}
  end
end

if allowed == 0 then
  return {0, tightest, 0, math.ceil(longest / 1000), math.ceil((now + longest) / 1000)}
end
for i = 1, #KEYS do
  redis.call('SET', KEYS[i], writes[i][1], 'PX', writes[i][2])
end
return {1, tightest, least, math.ceil(resets / 1000), math.ceil((now + resets) / 1000)}
"""


class RedisLimiter:
    """Counts on a server. Raises `StoreUnavailable`, and nothing else, within *timeout* seconds."""

    def __init__(
        self,
        home: Home,
        url: str,
        rules: Sequence[Rule],
        *,
        timeout: float,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._home = home
        self._timeout = timeout
        self._clock = clock
        self._pool = _pool(url, timeout)
        self._client = Redis(connection_pool=self._pool)
        self._sha = ""
        self._prefixes = [f"sip:1:l:{rule.name}:{rule.period // 1000}:" for rule in rules]

    async def decide(self, asks: Sequence[tuple[Rule, str]]) -> Decision:
        """Count one request against every rule, or against none if one refuses; *asks* is not empty."""
        keys = [self._prefixes[rule.index] + _digest(name) for rule, name in asks]
        args: list[str | int] = ["" if self._clock is None else int(self._clock() * 1000 + 0.5)]
        for rule, _ in asks:
            args += rule.amount, rule.period, rule.cost
        allowed, tightest, *numbers = await self._home.call(self._in_time, self._evaluate, keys, args)
        return Decision(bool(allowed), asks[tightest - 1][0].name, *numbers)

    async def ping(self) -> None:
        """Ask the server whether it answers, and make the script known to it."""
        await self._home.call(self._in_time, self._load)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._home.call(self._pool.disconnect)

    async def _in_time(self, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 (the script's reply)
        try:
            async with asyncio.timeout(self._timeout):
                return await function(*args)
        except Exception as error:  # noqa: BLE001 (whatever a client library raises, the server did not answer)
            raise StoreUnavailable(type(error).__name__) from None

    async def _evaluate(self, keys: list[str], args: list[str | int]) -> Any:  # noqa: ANN401 (the script's reply)
        if not self._sha:
            await self._load()
        try:
            return await cast("Awaitable[Any]", self._client.evalsha(self._sha, len(keys), *keys, *args))
        except NoScriptError:  # the server was restarted
            return await cast("Awaitable[Any]", self._client.eval(SCRIPT, len(keys), *keys, *args))

    async def _load(self) -> None:
        self._sha = await self._client.script_load(SCRIPT)


def check_url(url: str) -> None:
    """Raise `ConfigurationError` if *url* cannot be one of a server; connects to nothing."""
    _pool(url, 1)


def _pool(url: str, timeout: float) -> BlockingConnectionPool:
    return redis_pool(url, timeout=timeout, option="RateLimit.storage", extra="ratelimit")


def _digest(name: str) -> str:
    """Bounded, and the same in every worker; no client's name reaches the server."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
