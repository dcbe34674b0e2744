"""Every limiter in this process, at every number of live clients that it can reach, in the same rounds."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from statistics import median
from time import perf_counter

from bench.ratelimit_clients import FEWEST, Clients, Spread, TooSlow, spreads
from bench.ratelimit_peers import HOSTS, OURS, PEERS, Subject
from bench.timing import Effort, Timing

__all__ = ("REFUSED", "Key", "Memory", "in_memory")

PLENTY = 1_000_000_000
BARE, REFUSED = "bare", "refused"
REFUSED_AT, WEIGHED_AT = "1k", "20k"
SAMPLE = 100
_TELLING = 1_000  # clients: how long fewer take says nothing of how long more would

Key = tuple[str, str]
"""A limiter or a host, and how many clients are live: a key of the sizes, `BARE` or `REFUSED`."""


@dataclass(slots=True)
class Memory:
    """What was found in this process."""

    whole: dict[Key, Spread] = field(default_factory=dict)
    """Of a request, with the app's part."""

    added: dict[Key, Spread] = field(default_factory=dict)
    """Less the same app's, bare."""

    known: dict[Key, float] = field(default_factory=dict)
    """The share of the clients met whose next response still counted the first; of those that tell."""

    bytes_per_client: dict[str, float] = field(default_factory=dict)
    unable: dict[Key, str] = field(default_factory=dict)
    """Why a case was not measured."""


async def in_memory(effort: Effort, sizes: Mapping[str, int], patience: float) -> Memory:
    """Make every case ready, then measure them all."""
    found = Memory()
    cases: dict[Key, Clients] = {}
    subjects = (OURS, *PEERS)
    async with AsyncExitStack() as opened:
        for host, bare in HOSTS.items():
            with _noted(found, host, BARE):
                cases[host, BARE] = await Clients.of(await bare(), sizes[WEIGHED_AT])
        for subject in subjects:
            ready = _Ready(found, subject, effort, inf if subject is OURS else patience, opened)
            await ready.weigh(sizes[WEIGHED_AT])
            cases |= await ready.cases(sizes)
        found.whole = await spreads(cases, effort)
    hosts = {subject.name: subject.host for subject in subjects}
    found.added = {
        (name, size): _less(whole, found.whole[hosts[name], BARE])
        for (name, size), whole in found.whole.items()
        if name in hosts
    }
    return found


@dataclass(frozen=True, slots=True)
class _Ready:
    """One limiter, made ready for its turns."""

    found: Memory
    subject: Subject
    effort: Effort
    patience: float
    opened: AsyncExitStack

    async def weigh(self, count: int) -> None:
        """Note what is held of each client, up to *count* of them; tracing makes everybody slow."""
        with _noted(self.found, self.subject.name, "bytes"):
            case = await self._clients(PLENTY, count)
            await case.again(0)
            with _tracing():
                met = await case.meet(patience=self.patience / 2)
                gc.collect()
                held, _ = tracemalloc.get_traced_memory()
            self.found.bytes_per_client[self.subject.name] = held / met

    async def cases(self, sizes: Mapping[str, int]) -> dict[Key, Clients]:
        """Return a case for each size, up to the first that it cannot reach, and one that is refused."""
        name = self.subject.name
        ready: dict[Key, Clients] = {}
        with _noted(self.found, name, REFUSED):
            ready[name, REFUSED] = await self._refused(sizes[REFUSED_AT])
        pace = 0.0
        for size, count in sizes.items():
            with _noted(self.found, name, size):
                if count * pace > self.patience:
                    raise TooSlow(f"{count:,} clients would take {count * pace:.0f} s to meet")
                started = perf_counter()
                ready[name, size] = case = await self._live(count)
                pace = (perf_counter() - started) / max(count, _TELLING)
                if self.subject.tells:
                    self.found.known[name, size] = await self._known(case, self.subject.tells)
            if (name, size) in self.found.unable:
                break
        return ready

    async def _clients(self, amount: int, count: int) -> Clients:
        return await Clients.of(await self.subject.build(amount, self.opened), count)

    async def _refused(self, count: int) -> Clients:
        case = await self._clients(1, count)
        await case.meet(patience=inf)
        assert (status := (await case.again(0)).status) == 429, f"answered {status}"  # noqa: PLR2004 (Too Many Requests)
        return case

    async def _live(self, count: int) -> Clients:
        case = await self._clients(PLENTY, count)
        if (met := await case.meet(patience=self.patience)) < count:
            raise TooSlow(f"met {met:,} of {count:,} clients in {self.patience:g} s")
        assert (status := (await case.again(0)).status) == 200, f"answered {status}"  # noqa: PLR2004 (OK)
        requests = FEWEST * self.effort.rounds
        if (seconds := median(await case.turn(FEWEST)) * requests) > self.patience:
            raise TooSlow(f"{requests:,} requests would take {seconds:.0f} s")
        gc.freeze()  # the garbage collector goes through no clients of this case while the next one's come
        return case

    async def _known(self, case: Clients, header: bytes) -> float:
        sample = min(SAMPLE, case.count)
        left = [int((await case.again(n * case.count // sample)).headers[header]) for n in range(sample)]
        return sum(each < PLENTY - 1 for each in left) / sample


@contextmanager
def _tracing() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


@contextmanager
def _noted(found: Memory, name: str, size: str) -> Iterator[None]:
    """Note what keeps a case from running, and go on without it."""
    try:
        yield
    except TooSlow as slow:
        found.unable[name, size] = str(slow)
    except Exception as error:  # noqa: BLE001 (whatever keeps a peer from running is the finding)
        found.unable[name, size] = f"{type(error).__name__}: {error}"


def _less(whole: Spread, bare: Spread) -> Spread:
    return Spread(
        Timing(whole.p50.best - bare.p50.best, whole.p50.median - bare.p50.median),
        Timing(whole.p99.best - bare.p99.best, whole.p99.median - bare.p99.median),
    )
