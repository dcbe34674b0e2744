"""What Redis or Valkey is asked to do with stamps, each in one step.

Below ``sip:1:t:`` lie ``!head``, a hash: the secret ``s`` by which tags are digested, its name ``e``, the
number ``n`` of the last message and the run ``r`` of the server that all this is of; ``!log``, a stream of
the last messages, each under its number; the stamp of each digest that something was stored under; and while
writes are pending for a digest, beside it a sorted set ``:p`` of their tokens by when they are given up.

A purge deletes the stamp: what carries it is a miss, and whoever stores something next makes a new one. So an
evicted or expired stamp is a purge too many, and no more.
"""

from __future__ import annotations

__all__ = ("FINISH", "LINK", "PEND", "STAMPS")

_ANNOUNCE = """\
-- KEYS: the head, the log, stamps. ARGV: the secret's name, the host, the token, the digests.
if redis.call('HGET', KEYS[1], 'e') ~= ARGV[1] then
  return false
end
local function announce(kind)
  local number = redis.pcall('HINCRBY', KEYS[1], 'n', 1)
  local told = type(number) == 'number' and redis.pcall('XADD', KEYS[2],
    'MAXLEN', '~', 10000, number .. '-0', 'h', ARGV[2], 'k', kind, 't', ARGV[3], 'd', ARGV[4])
  if not told or told.err then
    redis.call('DEL', KEYS[1], KEYS[2])
    return false
  end
  return 1
end
"""

_CLOCK = """\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

PEND = f"""\
{_ANNOUNCE}
{_CLOCK}
for i = 3, #KEYS do
  local pending = KEYS[i] .. ':p'
  redis.call('DEL', KEYS[i])
  redis.call('ZREMRANGEBYSCORE', pending, '-inf', now)
  redis.call('ZADD', pending, now + 10000, ARGV[3])
  redis.call('PEXPIRE', pending, 10000)
end
return announce('p')
"""
"""Announce a write. Returns nothing if the secret is another by now.

Where no message can be written, because memory is full or somebody else wrote to the log, the secret is
forgotten: then every host's link goes down, and nobody goes on in ignorance.
"""

FINISH = f"""\
{_ANNOUNCE}
for i = 3, #KEYS do
  redis.call('DEL', KEYS[i])
  if ARGV[3] ~= '' then
    redis.call('ZREM', KEYS[i] .. ':p', ARGV[3])
  end
end
return announce('f')
"""
"""Purge: because the write announced under the token is over, or with none because some write is."""

STAMPS = f"""\
-- KEYS: the head, stamps. ARGV: the secret's name, a new stamp, how long in milliseconds it is needed.
if redis.call('HGET', KEYS[1], 'e') ~= ARGV[1] then
  return false
end
{_CLOCK}
local told = {{redis.call('HGET', KEYS[1], 'n')}}
for i = 2, #KEYS do
  local stamp = redis.call('GET', KEYS[i])
  if not stamp then
    if redis.call('ZCOUNT', KEYS[i] .. ':p', '(' .. now, '+inf') > 0 then
      return false
    end
    stamp = ARGV[2]
    redis.call('SET', KEYS[i], stamp, 'PX', ARGV[3])
  elseif redis.call('PTTL', KEYS[i]) < tonumber(ARGV[3]) then
    redis.call('PEXPIRE', KEYS[i], ARGV[3])
  end
  told[i] = stamp
end
return told
"""
"""Return the number of the last message and the stamps, the missing ones made; nothing = not now."""

LINK = """\
-- KEYS: the head, the log, the stamp of everything. ARGV: a secret, its name, the run of this server.
if redis.call('HSETNX', KEYS[1], 's', ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], 'e', ARGV[2], 'n', 0)
  redis.call('DEL', KEYS[2])
end
if redis.call('HGET', KEYS[1], 'r') ~= ARGV[3] then
  redis.call('HSET', KEYS[1], 'r', ARGV[3])
  redis.call('DEL', KEYS[3])
end
local found = redis.call('HMGET', KEYS[1], 's', 'n')
return {found[1], found[2], redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1000)}
"""
"""Return the secret, the number of the last message, and the last messages, the last one first.

In a run of the server that is new the stamps may be of before a purge: then everything is purged.
"""
