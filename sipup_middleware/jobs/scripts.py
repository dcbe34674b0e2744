"""What runs inside Redis or Valkey: SAQ's keys, and three priorities beside its one list.

SAQ's own ``queued`` list holds the normal jobs, so that what its stock client enqueues is run too. Each job
that is pushed also rings the ``bell``, a bounded list on which one waiting worker a process blocks; a token
that is lost costs it a second.
"""

from __future__ import annotations

__all__ = ("DEQUEUE", "ENQUEUE", "NUMBERS", "SCHEDULE", "Keys")

_PUSH = """
local function push(id, rank)
    redis.call('RPUSH', rank <= 10 and KEYS[1] or rank <= 20 and KEYS[2] or KEYS[3], id)
    redis.call('RPUSH', KEYS[4], 1)
    redis.call('LTRIM', KEYS[4], -1000, -1)
end
"""

ENQUEUE = f"""{_PUSH}
local made = {{}}
for i = 1, #ARGV, 5 do
    local id, abort, job, rank, due = unpack(ARGV, i, i + 4)
    if not redis.call('ZSCORE', KEYS[5], id) and redis.call('EXISTS', abort) == 0 then
        redis.call('SET', id, job)
        redis.call('ZADD', KEYS[5], due, id)
        redis.call('ZREM', KEYS[6], id)
        if due == '0' then push(id, tonumber(rank)) end
        made[#made + 1] = (i - 1) / 5
    end
end
return made
"""
"""KEYS: high, queued, low, bell, incomplete, dead. ARGV: id, abort id, job, rank, due of each.

Returns which are new, by their number.
"""

SCHEDULE = f"""{_PUSH}
if redis.call('SET', KEYS[6], 1, 'NX', 'EX', ARGV[1]) then
    local due = redis.call('ZRANGEBYSCORE', KEYS[5], 1, ARGV[2])
    for _, id in ipairs(due) do
        redis.call('ZADD', KEYS[5], 0, id)
        local job = redis.call('GET', id)
        push(id, job and cjson.decode(job).priority or 20)
    end
    return due
end
"""
"""KEYS: high, queued, low, bell, incomplete, lock. ARGV: seconds of the lock, now."""

DEQUEUE = """
for i = 1, 3 do
    local id = redis.call('LMOVE', KEYS[i], KEYS[5], 'LEFT', 'RIGHT')
    if id then
        redis.call('LPOP', KEYS[4])
        return id
    end
end
"""
"""KEYS: high, queued, low, bell, active."""

NUMBERS = """
local told = {}
for i = 1, 3 do
    local first = redis.call('LINDEX', KEYS[i], 0)
    told[#told + 1] = redis.call('LLEN', KEYS[i])
    told[#told + 1] = first and redis.call('GET', first) or ''
end
local active = {}
for i, id in ipairs(redis.call('LRANGE', KEYS[4], 0, 999)) do active[i] = redis.call('GET', id) or '' end
local alive = {}
for i, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], ARGV[1], '+inf', 'LIMIT', 0, 1000)) do
    alive[i] = redis.call('GET', worker) or ''
end
return {told, active, alive, redis.call('ZCOUNT', KEYS[6], ARGV[2], '+inf'), redis.call('HGETALL', KEYS[7])}
"""
"""KEYS: high, queued, low, active, stats, dead, tally. ARGV: now in ms and in s."""


class Keys:
    """The names of one queue's keys: SAQ's, and ours with the version of their format."""

    def __init__(self, queue: str) -> None:
        theirs, ours = f"saq:{queue}:", f"sip:1:j:{queue}:"
        self.queued = f"{theirs}queued"
        self.active = f"{theirs}active"
        self.incomplete = f"{theirs}incomplete"
        self.lock = f"{theirs}schedule"
        self.sweep = f"{theirs}sweep"
        self.stats = f"{theirs}stats"
        self.high = f"{ours}high"
        self.low = f"{ours}low"
        self.bell = f"{ours}bell"
        self.dead = f"{ours}dead"
        self.tally = f"{ours}tally"
        self.job = f"saq:job:{queue}:"
        self.abort = "saq:abort:"

    @property
    def lists(self) -> list[str]:
        """Return where jobs wait, the most urgent first."""
        return [self.high, self.queued, self.low]
