"""Who may come in, who waits, who is sent away: the slots of one wrapped app, on any number of loops.

Two signals of overload need no timer. Latency is what `Ticket.leave` is told. The loop's lag is measured
where requests are: a waiter sees how long after its wake-up it runs, and at most ten times a second `enter`
posts a callback and sees how late that runs. So the loop of an app that nobody calls is not watched, a lag is
known when it is over or between two of its callbacks, and loops in several threads share one verdict.

A waiter whose loop is closed is passed over. One whose loop was stopped, without a word to its tasks, and is
handed a slot before that loop is closed keeps it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from math import inf, isfinite
from threading import Lock
from time import monotonic
from typing import Any, Literal, NamedTuple

import anyio
from anyio.lowlevel import current_token

from sipup_middleware.ratelimit.adaptive import AdaptiveLimit, LoopLag
from sipup_middleware.ratelimit.shed import LoadShed
from sipup_middleware.telemetry import Telemetry

__all__ = ("PROBE_EVERY", "Holding", "Kind", "Reason", "Shed", "Shedder", "Stats", "Ticket")

PROBE_EVERY = 0.1
"""Seconds between two probes of the loop's lag, at least."""

Kind = Literal["request", "websocket"]
Reason = Literal["inflight", "adaptive", "client", "queue", "lag"]
Holding = Literal["request", "lingering", "place"]
"""A slot under the adaptive limit, one under ``max_inflight`` alone, or a place in the queue."""

_REASONS: tuple[Reason, ...] = ("inflight", "adaptive", "client", "queue", "lag")


class Shed(NamedTuple):
    """No: there is no room. It has been counted."""

    reason: Reason
    """``inflight``, ``adaptive``: that limit is reached, the queue full; ``queue``: it waited in vain."""


class Stats(NamedTuple):
    """What a `Shedder` holds at one moment."""

    requests: int
    lingering: int
    """Websockets and streams."""

    waiting: int
    clients: int
    """Clients that are counted, once for their requests and once for their websockets."""

    limit: int
    """What `requests` may grow to."""

    lag: float
    """Seconds that the loop was late of late."""


class Ticket:
    """Somebody's slot. Leave it in a ``finally``; only the first time counts."""

    __slots__ = ("_shedder", "client", "counts", "holds")

    def __init__(self, shedder: Shedder, client: str, counts: dict[str, int], holds: Holding) -> None:
        self._shedder = shedder
        self.client = client
        self.counts = counts
        """Where its client is counted."""

        self.holds: Holding | None = holds
        """None once it was left."""

    def leave(self, seconds: float | None = None) -> None:
        """Give the slot to the next; *seconds* is what the response took, None if that says nothing."""
        self._shedder.leave(self, seconds)

    def stream(self) -> None:
        """Tell that the response lasts as long as its client likes: it holds ``max_inflight`` only."""
        self._shedder.linger(self)


class Shedder:
    """The slots of one wrapped app, for callers on any loop and thread."""

    def __init__(
        self, config: LoadShed, telemetry: Telemetry, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._clock = clock
        self._most_per_client = config.max_per_client
        self._most_waiting = config.queue
        self._timeout = config.queue_timeout
        self._lock = Lock()
        self._leaving: deque[tuple[Ticket, float | None]] = deque()
        self._requests = self._lingering = 0
        self._most = self._limit = config.max_inflight
        self._clients, self._sockets = dict[str, int](), dict[str, int]()
        self._line = _Line()
        self._adaptive = AdaptiveLimit(config.max_inflight) if config.adaptive else None
        self._lag = LoopLag(config.max_loop_lag)
        self._probe_at = -inf if isfinite(config.max_loop_lag) else inf
        self._counters = {reason: telemetry.counter("ratelimit.shed", reason=reason) for reason in _REASONS}
        telemetry.gauge("ratelimit.inflight", lambda: self._requests + self._lingering)
        telemetry.gauge("ratelimit.concurrency_limit", lambda: self._limit)

    async def enter(self, client: str, priority: int = 0, *, kind: Kind = "request") -> Ticket | Shed:
        """Take a slot. Awaits only where all are taken and there is a queue, ``queue_timeout`` at most."""
        now = self._clock()
        if now >= self._probe_at:
            self._probe(now)
        with self._lock:
            answer = self._admit(client, kind, now) or self._enqueue(client, priority)
        if self._leaving:
            self._settle()
        return await self._wait(answer) if type(answer) is _Waiter else answer

    def leave(self, ticket: Ticket, seconds: float | None) -> None:
        """Do what `Ticket.leave` says.

        It never waits for the lock: the garbage collector may close a forgotten request, which leaves, while
        this very thread holds it. Whoever holds it settles what came meanwhile.
        """
        self._leaving.append((ticket, seconds))
        self._settle()

    def linger(self, ticket: Ticket) -> None:
        """Do what `Ticket.stream` says."""
        with self._lock:
            if ticket.holds == "request":
                ticket.holds = "lingering"
                self._requests -= 1
                self._lingering += 1
                self._hand_over()
        self._settle()

    def stats(self) -> Stats:
        """Return what is held now, for tests and the curious."""
        with self._lock:
            stats = Stats(
                requests=self._requests,
                lingering=self._lingering,
                waiting=self._line.length,
                clients=len(self._clients) + len(self._sockets),
                limit=self._limit,
                lag=self._lag.at(self._clock()),
            )
        self._settle()
        return stats

    def _admit(self, client: str, kind: Kind, now: float) -> Ticket | Shed | None:
        """Answer those who need not wait, for in or out; None = the others."""
        lingers = kind == "websocket"
        counts = self._sockets if lingers else self._clients
        held = counts.get(client, 0)
        if now < self._lag.until and self._requests:  # a lone one may: a pause that is over harms nobody
            return self._shed("lag")
        if held >= self._most_per_client:
            return self._shed("client")
        if self._requests + self._lingering >= self._most:
            return self._shed("inflight") if lingers else None
        if lingers:
            self._lingering += 1
        elif self._requests < self._limit:
            self._requests += 1
        else:
            return None
        counts[client] = held + 1
        return Ticket(self, client, counts, "lingering" if lingers else "request")

    def _enqueue(self, client: str, priority: int) -> _Waiter | Shed:
        if self._line.length >= self._most_waiting:
            if not self._line.length or self._line.lowest >= priority:
                full = self._requests + self._lingering >= self._most
                return self._shed("inflight" if full else "adaptive")
            pushed_out = self._line.pop_last()
            self._refuse(pushed_out)
            pushed_out.wake()
        waiter = _Waiter(self, client, self._clients, priority)
        self._clients[client] = self._clients.get(client, 0) + 1
        self._line.add(waiter)
        return waiter

    def _shed(self, reason: Reason) -> Shed:
        self._counters[reason].add()
        return _SHED[reason]

    def _refuse(self, waiter: _Waiter) -> None:
        waiter.holds = None
        _uncount(waiter)
        self._shed("queue")

    async def _wait(self, waiter: _Waiter) -> Ticket | Shed:
        try:
            with anyio.move_on_after(self._timeout):
                await waiter.woken.wait()
        except BaseException:
            waiter.leave()  # its place, or the slot that it was handed meanwhile
            raise
        with self._lock:
            if waiter.holds == "place":
                self._line.remove(waiter)
                self._refuse(waiter)
        self._settle()
        if waiter.holds is None:
            return _SHED["queue"]
        now = self._clock()
        self._lag.observe(now - waiter.woken_at, now)
        return waiter

    def _settle(self) -> None:
        """Let go of those who leave; whoever is at work at the moment does it when done."""
        while self._leaving and self._lock.acquire(False):  # noqa: FBT003 (by name it takes 0.1 us longer)
            try:
                while self._leaving:
                    self._let_go(*self._leaving.popleft())
            finally:
                self._lock.release()

    def _let_go(self, ticket: Ticket, seconds: float | None) -> None:
        held, ticket.holds = ticket.holds, None
        if held is None:
            return
        _uncount(ticket)
        if held == "place" and isinstance(ticket, _Waiter):
            self._line.remove(ticket)
        elif held == "lingering":
            self._lingering -= 1
        else:
            if seconds is not None and self._adaptive is not None:
                self._limit = self._adaptive.record(seconds, self._requests, self._clock())
            self._requests -= 1
        if self._line.length:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give what is free to those who wait."""
        while self._line.length and self._requests < self._limit:
            if self._requests + self._lingering >= self._most:
                return
            waiter = self._line.pop_first()
            waiter.holds = "request"
            waiter.woken_at = self._clock()
            self._requests += 1
            if not waiter.wake():
                self._leaving.append((waiter, None))  # its loop is closed: the slot is for the next

    def _probe(self, now: float) -> None:
        self._probe_at = now + PROBE_EVERY
        _post(current_token().native_token, lambda: self._probed(now))

    def _probed(self, posted: float) -> None:
        now = self._clock()
        self._lag.observe(now - posted, now)


class _Waiter(Ticket):
    """A ticket to be, with a place in the queue of whatever loop its owner is on."""

    __slots__ = ("_token", "priority", "woken", "woken_at")

    def __init__(self, shedder: Shedder, client: str, counts: dict[str, int], priority: int) -> None:
        super().__init__(shedder, client, counts, "place")
        self.priority = priority
        self.woken = anyio.Event()
        self.woken_at = 0.0
        self._token = current_token().native_token

    def wake(self) -> bool:
        """Let the owner see what it holds now; False = its loop is closed."""
        if self._token is _here():
            self.woken.set()
            return True
        return _post(self._token, self.woken.set)


class _Line:
    """Who waits: by priority, then by age."""

    def __init__(self) -> None:
        self.length = 0
        self._ranks: dict[int, OrderedDict[_Waiter, None]] = {}

    @property
    def lowest(self) -> int:
        """The least priority that waits; somebody has to."""
        return min(self._ranks)

    def add(self, waiter: _Waiter) -> None:
        self._ranks.setdefault(waiter.priority, OrderedDict())[waiter] = None
        self.length += 1

    def remove(self, waiter: _Waiter) -> None:
        del self._ranks[waiter.priority][waiter]
        self._removed(waiter)

    def pop_first(self) -> _Waiter:
        """Take out the oldest of the highest priority."""
        return self._removed(self._ranks[max(self._ranks)].popitem(last=False)[0])

    def pop_last(self) -> _Waiter:
        """Take out the newest of the lowest priority."""
        return self._removed(self._ranks[self.lowest].popitem()[0])

    def _removed(self, waiter: _Waiter) -> _Waiter:
        self.length -= 1
        if not self._ranks[waiter.priority]:
            del self._ranks[waiter.priority]
        return waiter


_SHED = {reason: Shed(reason) for reason in _REASONS}


def _uncount(ticket: Ticket) -> None:
    left = ticket.counts[ticket.client] - 1
    if left:
        ticket.counts[ticket.client] = left
    else:
        del ticket.counts[ticket.client]


def _here() -> Any:  # noqa: ANN401 (an asyncio loop or a trio token)
    try:
        return current_token().native_token
    except RuntimeError:  # on no loop: the garbage collector's doing, or a plain thread
        return None


def _post(token: Any, function: Callable[[], object]) -> bool:  # noqa: ANN401 (an asyncio loop or a trio token)
    """Run *function* on that loop soon; False = it is closed."""
    post = getattr(token, "call_soon_threadsafe", None) or token.run_sync_soon
    try:
        post(function)
    except RuntimeError:
        return False
    return True
