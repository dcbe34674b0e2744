"""Counting in any storage of the library `limits`: Memcached, MongoDB, one of your own.

Not atomic, unlike our own limiters: every rule is looked at and then counted, one call after the other. A
request that others overtake in between is refused, and the rules that had counted it have counted it; the
tightest is counted first. Bans are kept in this process alone, since such a storage has no place for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from random import random
from time import time
from typing import TypeVar, TypeVarTuple

from limits.aio.storage import Storage
from limits.errors import StorageError

from sipup_middleware.bridge import Home
from sipup_middleware.errors import StoreUnavailable
from sipup_middleware.ratelimit.backoff import Backoff, milliseconds
from sipup_middleware.ratelimit.foreign_windows import windows_of
from sipup_middleware.ratelimit.memory import MemoryLimiter
from sipup_middleware.ratelimit.policy import Decision, Rule

__all__ = ("ForeignLimiter",)

_ANY = 2**53 - 1
"""An amount that no count exceeds, and that Lua can say."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one rule has to say of a request; times are milliseconds."""

    rule: Rule
    name: str
    units: int
    wait: int
    resets: int

    @property
    def refuses(self) -> bool:
        return self.wait > 0 and not self.rule.shadow

    @property
    def left(self) -> int:
        """What is left once the request is served."""
        return self.units if self.rule.late else self.units - self.rule.cost


class ForeignLimiter:
    """Counts in a storage. Raises `StoreUnavailable`, and nothing else, within *timeout* seconds.

    The storage is used on *home* and stays open: it is closed by whoever made it. Bans and what
    leads to them are known to this process alone.
    """

    def __init__(  # noqa: PLR0913 (named, but for where and what)
        self,
        home: Home,
        storage: Storage,
        rules: Sequence[Rule],
        *,
        timeout: float,
        clock: Callable[[], float] | None = None,
        backoff: Backoff | None = None,
        draw: Callable[[], float] = random,
    ) -> None:
        self._home = home
        self._storage = storage
        self._timeout = timeout
        self._clock = clock or time
        self._windows = windows_of(storage, rules, self._clock)
        self._bans = MemoryLimiter((), clock=clock, backoff=backoff, draw=draw)
        self._forgives = backoff is None

    async def decide(self, asks: Sequence[tuple[Rule, str]]) -> Decision:
        """Count one request against every rule, or against none that was seen to refuse; *asks* is not empty.

        Late rules are looked at and not counted: that is for `count`.
        """
        ban, banning = self._banned(asks)
        seen = await self._call(self._weigh, asks, not ban)
        now = milliseconds(self._clock())
        refusing = max((each for each in seen if each.refuses), key=lambda each: each.wait, default=None)
        longest = 0 if refusing is None else refusing.wait
        if ban:
            return _refusal(banning, max(ban, longest), now, banned=True)
        shadowed = tuple(each.rule.name for each in seen if each.wait and each.rule.shadow)
        if refusing is None:
            return _admit(seen, shadowed, now)
        struck = milliseconds(self._bans.strike(refusing.rule.who, refusing.name))
        return _refusal(refusing.rule.name, max(longest, struck), now, banned=struck > 0, shadowed=shadowed)

    async def count(self, asks: Iterable[tuple[Rule, str]]) -> None:
        """Count an answered request against the late rules among *asks*, whatever is left of them."""
        late = [ask for ask in asks if ask[0].late]
        if late:
            await self._call(self._overdraw, late)

    async def peek(self, asks: Iterable[tuple[Rule, str]]) -> list[Decision]:
        """Return what each rule would say now, and what is left before it is asked; counts nothing."""
        seen = await self._call(self._look, list(asks))
        now = milliseconds(self._clock())
        return [
            _refusal(each.rule.name, each.wait, now)
            if each.wait
            else _admission(each.rule.name, each.units, each.resets, now)
            for each in seen
        ]

    async def reset(self, rule: Rule, name: str) -> None:
        """Count a client anew."""
        await self._call(self._windows[rule.strategy].clear, rule, _key(rule, name))

    async def count_and_strike(self, asks: Iterable[tuple[Rule, str]], who: str, name: str) -> float:
        """Do so, and hold it against a client; return the seconds of the ban that it led to, or 0."""
        await self.count(asks)
        return self._bans.strike(who, name)

    async def ban(self, who: str, name: str, seconds: float) -> None:
        """Refuse a client whatever it asks of this process, for *seconds* from now.

        Raises `ConfigurationError` where there is no `Backoff`: bans would not be looked up.
        """
        self._bans.ban(who, name, seconds)

    async def unban(self, who: str, name: str) -> None:
        """Forget a client's ban and what led to it, in this process."""
        self._bans.unban(who, name)

    async def ping(self) -> None:
        """Ask for a key: ``Storage.check`` may swallow errors, and cancellation with them."""
        await self._call(self._storage.get, "sip:1:l:ping")

    async def aclose(self) -> None:
        """Forget who is banned."""
        self._bans.clear()

    async def _call(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        async def in_time() -> T:
            try:
                async with asyncio.timeout(self._timeout):
                    return await function(*args)
            except StorageError as error:
                raise StoreUnavailable(type(error.storage_error).__name__) from None
            except Exception as error:  # noqa: BLE001 (whatever a client library raises, the server did not answer)
                raise StoreUnavailable(type(error).__name__) from None

        return await self._home.call(in_time)

    async def _look(self, asks: Sequence[tuple[Rule, str]]) -> list[_Seen]:
        return [
            _Seen(rule, name, *await self._windows[rule.strategy].look(rule, _key(rule, name)))
            for rule, name in asks
        ]

    async def _weigh(self, asks: Sequence[tuple[Rule, str]], counting: bool) -> list[_Seen]:  # noqa: FBT001 (`Home.call` passes no names)
        """Look at every rule and, if none refuses, count; a rule that refuses then is told as refusing."""
        seen = await self._look(asks)
        if not counting or any(each.refuses for each in seen):
            return seen
        counted = [each for each in seen if not each.rule.late and not each.wait]
        spent = {_key(each.rule, each.name): each for each in counted}
        for key, each in sorted(spent.items(), key=lambda item: item[1].left):
            if not await self._windows[each.rule.strategy].take(each.rule, key, each.rule.amount):
                (again,) = await self._look([(each.rule, each.name)])
                seen[seen.index(each)] = replace(again, wait=max(1, again.wait))
                if not each.rule.shadow:
                    break
        return seen

    async def _overdraw(self, late: Sequence[tuple[Rule, str]]) -> None:
        spent = {_key(rule, name): rule for rule, name in late}
        for key, rule in spent.items():
            window = self._windows[rule.strategy]
            if rule.shadow and (await window.look(rule, key)).wait:
                continue  # it counts what it would have let through
            await window.take(rule, key, _ANY)

    def _banned(self, asks: Sequence[tuple[Rule, str]]) -> tuple[int, str]:
        """Return how long the longest ban is, and the first rule that enforces something on who has it."""
        left, told = 0, ""
        if self._forgives:
            return left, told
        for rule, name in asks:
            ban = milliseconds(self._bans.banned_for(rule.who, name))
            if ban > left:
                left, told = ban, ""
            if ban and ban == left and not told and not rule.shadow:
                told = rule.name
        return left, told


def _admit(seen: Sequence[_Seen], shadowed: tuple[str, ...], now: int) -> Decision:
    enforced = [each for each in seen if not each.rule.shadow]
    if not enforced:
        return _admission("", 0, 0, now, shadowed)
    tightest = min(enforced, key=lambda each: each.left)
    return _admission(tightest.rule.name, tightest.left, tightest.resets, now, shadowed)


def _admission(rule: str, left: int, resets: int, now: int, shadowed: tuple[str, ...] = ()) -> Decision:
    return Decision(
        allowed=True,
        rule=rule,
        remaining=left,
        reset=-(-resets // 1000),
        reset_at=-(-(now + resets) // 1000),
        shadowed=shadowed,
    )


def _refusal(
    rule: str, wait: int, now: int, *, banned: bool = False, shadowed: tuple[str, ...] = ()
) -> Decision:
    return Decision(
        allowed=False,
        rule=rule,
        remaining=0,
        reset=-(-wait // 1000),
        reset_at=-(-(now + wait) // 1000),
        banned=banned,
        shadowed=shadowed,
    )


def _key(rule: Rule, name: str) -> str:
    """Return whose counter it is: bounded, no client's name in it, and none that could be another's."""
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"sip:1:l:{rule.counter}:{digest}"
