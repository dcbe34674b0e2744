"""What the server is asked to do, each in one step: `policy` and `backoff` in Lua.

A counter is one small string: ``window:current:previous`` (sliding), ``window:count`` (fixed), ``at:debt``
(gcra); for a moving window 12 bytes a request, its time and the units counted by then, after the units before
the first. A client that was refused has ``till:since:strikes:level:last``. All expire when they weigh nothing
any more. A state that lies ahead, the server's clock having been set back, is made one of now as it is met.

Every script takes the time in ARGV[1], "" = the server's own, and times are milliseconds.
"""

from __future__ import annotations

from hashlib import sha1

__all__ = ("BAN", "BANNED", "COUNT", "COUNT_AND_STRIKE", "DECIDE", "PEEK", "STRIKE", "Script")

_CLOCK = """\
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

_COUNTERS = """\
-- look[strategy](rule, state) tells what is left, how long until the rule's cost is (0 = it is), whether the
-- state lies ahead, when all is back once so many units are taken, and what state that makes, with its life.
local look = {}

-- Divides a * b, b being no more than c and c below 2^40: a number holds no more than 53 bits, so where the
-- product has more, it is made and divided 12 bits at a time.
local function divided(a, b, c)
  if a * b < 2^53 then
    return math.floor(a * b / c), a * b % c
  end
  local quotient, rest = 0, 0
  for shift = 36, 0, -12 do
    rest = rest * 4096 + math.floor(a % c / 2^shift) % 4096 * b
    quotient = quotient * 4096 + math.floor(rest / c)
    rest = rest % c
  end
  return quotient + math.floor(a / c) * b, rest
end

local function faded(previous, rest, period)
  return (divided(previous, rest, period))
end

local function fading(count, room, period)
  local quotient, rest = divided(period, room + 1, count)
  return rest > 0 and quotient or quotient - 1
end

function look.s(rule, state)
  local period = rule.period
  local window = math.floor(now / period)
  local rest = (window + 1) * period - now
  local at, current, previous = string.match(state, '^(%d+):(%d+):(%d+)$')
  at, current, previous = tonumber(at), tonumber(current), tonumber(previous)
  local ahead = at ~= nil and at > window
  if ahead then
    previous = 0
  elseif at == window - 1 then
    current, previous = 0, current
  elseif at ~= window then
    current, previous = 0, 0
  end
  local left, wait = rule.amount - current - faded(previous, rest, period), 0
  if left < rule.cost then
    local room = rule.amount - rule.cost
    if current <= room then
      wait = rest - fading(previous, room - current, period)
    else
      wait = rest + math.max(0, period - fading(current, room, period))
    end
  end
  return {
    left = left, wait = wait, ahead = ahead,
    resets = function() return rest end,
    take = function(units)
      return string.format('%d:%d:%d', window, current + units, previous), rest + period
    end,
  }
end

function look.f(rule, state)
  local window = math.floor(now / rule.period)
  local rest = (window + 1) * rule.period - now
  local at, count = string.match(state, '^(%d+):(%d+)$')
  at, count = tonumber(at), tonumber(count)
  local ahead = at ~= nil and at > window
  if at ~= window and not ahead then
    count = 0
  end
  local left = rule.amount - count
  return {
    left = left, wait = left < rule.cost and rest or 0, ahead = ahead,
    resets = function() return rest end,
    take = function(units) return string.format('%d:%d', window, count + units), rest + rule.period end,
  }
end

function look.g(rule, state)
  local full = rule.most * rule.period
  local function owed(debt, elapsed)
    return math.max(0, math.min(debt, full + rule.amount * rule.period) - math.max(0, elapsed) * rule.amount)
  end
  local at, debt = string.match(state, '^(%d+):(%d+)$')
  at, debt = tonumber(at) or now, tonumber(debt) or 0
  local ahead = at > now
  debt = owed(debt, now - at)
  return {
    left = math.floor((full - debt) / rule.period), ahead = ahead,
    wait = math.max(0, math.ceil((debt + rule.cost * rule.period - full) / rule.amount)),
    resets = function(units) return math.ceil(owed(debt + units * rule.period, 0) / rule.amount) end,
    take = function(units)
      local more = owed(debt + units * rule.period, 0)
      return string.format('%d:%d', now, more), math.ceil(more / rule.amount) + rule.period
    end,
  }
end

function look.m(rule, state)
  local entries = (#state - 6) / 12
  if entries < 1 or entries % 1 ~= 0 then
    state, entries = struct.pack('>I6', 0), 0
  end
  local function at(entry) return (struct.unpack('>I6', state, 12 * entry - 5)) end
  local function counted(entry) return (struct.unpack('>I6', state, 12 * entry + 1)) end
  local function first(test)
    local low, high = 1, entries + 1
    while low < high do
      local middle = math.floor((low + high) / 2)
      if test(middle) then high = middle else low = middle + 1 end
    end
    return low
  end
  local ahead = entries > 0 and at(entries) > now
  if ahead then
    local total = counted(entries)
    entries = first(function(entry) return at(entry) > now end)
    state = string.sub(state, 1, 12 * entries - 6) .. struct.pack('>I6I6', now, total)
  end
  local over = first(function(entry) return at(entry) > now - rule.period end) - 1
  local total, before = counted(entries), counted(over)
  local left, wait = rule.amount - (total - before), 0
  if left < rule.cost then
    local short = before + rule.cost - left
    wait = at(first(function(entry) return counted(entry) >= short end)) + rule.period - now
  end
  return {
    left = left, wait = wait, ahead = ahead,
    resets = function(units)
      if units > 0 then return rule.period end
      return entries > over and at(entries) + rule.period - now or 0
    end,
    take = function(units)
      local kept = string.sub(state, 12 * over + 1)
      if units == 0 then
        return kept, 2 * rule.period
      elseif entries > over and at(entries) == now then
        return string.sub(kept, 1, -7) .. struct.pack('>I6', total + units), 2 * rule.period
      end
      return kept .. struct.pack('>I6I6', now, total + units), 2 * rule.period
    end,
  }
end

local function read(text, state)
  local rule = {}
  local strategy, amount, period, cost, most, flag, client = string.match(
    text, '^(%a):(%d+):(%d+):(%d+):(%d+):(%a):(%d+)$')
  rule.amount, rule.period, rule.cost = tonumber(amount), tonumber(period), tonumber(cost)
  rule.most, rule.client = tonumber(most), tonumber(client)
  rule.shadow, rule.late = flag == 's' or flag == 'b', flag == 'l' or flag == 'b'
  return rule, look[strategy](rule, state or '')
end

local function write(key, seen, units)
  local state, life = seen.take(units)
  redis.call('SET', key, state, 'PX', string.format('%d', life))
end

local function count(key, text, state)
  local rule, seen = read(text, state)
  if not (rule.shadow and seen.wait > 0) then
    write(key, seen, rule.cost)
  end
end

local function seconds(milliseconds)
  return math.ceil(milliseconds / 1000)
end
"""

_RECORDS = """\
local function recall(text)
  local till, since, strikes, level, last = string.match(text or '', '^(%d+):(%d+):(%d+):(%d+):(%d+)$')
  local record = {
    till = tonumber(till) or 0, since = tonumber(since) or 0, strikes = tonumber(strikes) or 0,
    level = tonumber(level) or 0, last = tonumber(last) or 0,
  }
  local ahead = record.last - now
  if ahead > 0 then
    record.till, record.since = math.max(0, record.till - ahead), math.max(0, record.since - ahead)
    record.last, record.ahead = now, true
  end
  return record
end

local function keep(key, record, forget)
  redis.call(
    'SET', key, string.format(
      '%d:%d:%d:%d:%d', record.till, record.since, record.strikes, record.level, record.last),
    'PX', string.format('%d', math.max(forget, record.till - now)))
end

local function agreed(text)
  local after, within, base, factor, longest, forget, by = string.match(
    text, '^(%d+):(%d+):(%d+):([^:]+):(%d+):(%d+):([^:]+)$')
  return {
    after = tonumber(after), within = tonumber(within), base = tonumber(base), factor = tonumber(factor),
    longest = tonumber(longest), forget = tonumber(forget), by = tonumber(by),
  }
end

local function strike(key, record, backoff)
  if record.till > now then
    return 0
  end
  if now - record.last >= backoff.forget then
    record.strikes, record.level = 0, 0
  end
  if record.strikes == 0 or now - record.since >= backoff.within then
    record.since, record.strikes = now, 0
  end
  record.strikes, record.till, record.last = record.strikes + 1, 0, now
  local ban = 0
  if record.level > 0 or record.strikes > backoff.after then
    local length = backoff.base * backoff.factor ^ record.level
    if length < backoff.longest or record.level == 0 then
      record.level = record.level + 1
    end
    ban = math.max(1, math.floor(math.min(backoff.longest, length * backoff.by) + 0.5))
    record.till, record.since, record.strikes = now + ban, now, 0
  end
  keep(key, record, backoff.forget)
  return ban
end
"""

_DECIDE = """\
-- KEYS: counters, then clients. ARGV[2]: how many counters; from ARGV[3] on a rule each; then the backoff.
local count = tonumber(ARGV[2])
local backoff = ARGV[3 + count] and agreed(ARGV[3 + count])
local states = redis.call('MGET', unpack(KEYS))
local rules, seen, shadowed = {}, {}, {}
local tightest, least, resets, refusing, longest = 0, 0, 0, 0, 0

for i = 1, count do
  rules[i], seen[i] = read(ARGV[2 + i], states[i])
  local rule, wait = rules[i], seen[i].wait
  if wait > 0 and rule.shadow then
    shadowed[#shadowed + 1] = i
  elseif wait > longest then
    refusing, longest = i, wait
  elseif wait == 0 and not rule.shadow then
    local units = rule.late and 0 or rule.cost
    if tightest == 0 or seen[i].left - units < least then
      tightest, least, resets = i, seen[i].left - units, seen[i].resets(units)
    end
  end
end

local records, banned, ban = {}, 0, 0
for i = 1, #KEYS - count do
  records[i] = recall(states[count + i])
  if records[i].ahead then
    keep(KEYS[count + i], records[i], backoff.forget)
  end
end
for i = 1, #records > 0 and count or 0 do
  local left = records[rules[i].client].till - now
  if left > ban then
    banned, ban = 0, left
  end
  if left > 0 and left == ban and banned == 0 and not rules[i].shadow then
    banned = i
  end
end

local barred = ban > 0
for i = 1, count do
  local idle = barred or refusing > 0 or rules[i].late or rules[i].shadow and seen[i].wait > 0
  if not idle then
    write(KEYS[i], seen[i], rules[i].cost)
  elseif seen[i].ahead then
    write(KEYS[i], seen[i], 0)
  end
end

if barred then
  refusing, shadowed = banned, {}
elseif refusing > 0 and backoff then
  local client = rules[refusing].client
  ban = strike(KEYS[count + client], records[client], backoff)
end
if barred or refusing > 0 then
  local wait = math.max(longest, ban)
  return {0, refusing, 0, seconds(wait), seconds(now + wait), ban > 0 and 1 or 0, unpack(shadowed)}
end
return {1, tightest, least, seconds(resets), seconds(now + resets), 0, unpack(shadowed)}
"""

_COUNT = """\
-- KEYS: counters; from ARGV[2] on a rule each.
local states = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  count(KEYS[i], ARGV[1 + i], states[i])
end
"""

_COUNT_AND_STRIKE = """\
-- KEYS: counters, then a client; from ARGV[2] on a rule each, then the backoff.
local states = redis.call('MGET', unpack(KEYS))
local last = #KEYS
for i = 1, last - 1 do
  count(KEYS[i], ARGV[1 + i], states[i])
end
return strike(KEYS[last], recall(states[last]), agreed(ARGV[1 + last]))
"""

_PEEK = """\
-- KEYS: counters; from ARGV[2] on a rule each. Five numbers a rule.
local states = redis.call('MGET', unpack(KEYS))
local told = {}
for i = 1, #KEYS do
  local rule, seen = read(ARGV[1 + i], states[i])
  local allowed = seen.wait == 0
  local wait = allowed and seen.resets(0) or seen.wait
  for _, number in ipairs({
    allowed and 1 or 0, i, allowed and seen.left or 0, seconds(wait), seconds(now + wait),
  }) do
    told[#told + 1] = number
  end
end
return told
"""

_STRIKE = """\
-- KEYS[1]: a client; ARGV[2]: the backoff.
return strike(KEYS[1], recall(redis.call('GET', KEYS[1])), agreed(ARGV[2]))
"""

_BAN = """\
-- KEYS[1]: a client; ARGV[2]: how long; ARGV[3]: after what time strikes are forgotten.
local forget = tonumber(ARGV[3])
local record = recall(redis.call('GET', KEYS[1]))
if now - record.last >= forget then
  record = recall()
end
record.till, record.last = now + tonumber(ARGV[2]), now
keep(KEYS[1], record, forget)
"""

_BANNED = """\
-- KEYS[1]: a client.
return math.max(0, recall(redis.call('GET', KEYS[1])).till - now)
"""


class Script:
    """A script, and the name that the server knows it by."""

    __slots__ = ("sha", "text")

    def __init__(self, *parts: str) -> None:
        self.text = "\n".join((_CLOCK, *parts))
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


DECIDE = Script(_COUNTERS, _RECORDS, _DECIDE)
COUNT = Script(_COUNTERS, _COUNT)
COUNT_AND_STRIKE = Script(_COUNTERS, _RECORDS, _COUNT_AND_STRIKE)
PEEK = Script(_COUNTERS, _PEEK)
STRIKE = Script(_RECORDS, _STRIKE)
BAN = Script(_RECORDS, _BAN)
BANNED = Script(_RECORDS, _BANNED)
