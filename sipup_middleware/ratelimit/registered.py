"""Our counting in this process, for those who use the library `limits` by itself.

Importing this module makes two schemes known to it, outside ASGI too and on any event loop::

    from limits.aio.strategies import SlidingWindowCounterRateLimiter
    from limits.storage import storage_from_string

    import sipup_middleware.ratelimit.registered

    limiter = SlidingWindowCounterRateLimiter(storage_from_string("async+sipup://"))

``async+sipup://`` is for `limits.aio`, ``sipup://`` for threads; both count fixed windows and sliding window
counters. A hit takes the same time however many keys there are: nothing is swept, no timer runs, and the
number of keys is bounded. Each storage counts for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from limits import storage as threaded
from limits.aio import storage as aio

from sipup_middleware.errors import ConfigurationError
from sipup_middleware.ratelimit.backoff import milliseconds
from sipup_middleware.ratelimit.counters import Generations, Key, Sliding, key_of
from sipup_middleware.ratelimit.memory import MAX_KEYS, anchored
from sipup_middleware.ratelimit.policy import faded

__all__ = ("SipupStorage", "ThreadedSipupStorage")


class _Window(NamedTuple):
    units: int
    ends: int
    """Milliseconds since 1970."""


class _Counts:
    """Counters by key: of each period a dict of those in use, and one of those that may soon be forgotten."""

    def __init__(self, max_keys: int, clock: Callable[[], float] | None) -> None:
        if max_keys < 1:
            raise ConfigurationError(f"max_keys must be at least 1, not {max_keys}")
        self._clock = clock or anchored()
        self._max_keys = max_keys
        self._fixed: dict[int, Generations[_Window]] = {}
        self._sliding: dict[int, Sliding] = {}

    def add(self, key: str, expiry: float, amount: int) -> int:
        """Count *amount* in a window that ends *expiry* seconds after its first, and return the count."""
        now, period, name = self._now(), milliseconds(expiry), key_of(key)
        if (kept := self._fixed.get(period)) is None:
            kept = self._fixed[period] = Generations(period, self._max_keys)
        window = kept.get(name, now)
        if window is None or window.ends <= now:
            window = _Window(0, now + period)
        kept.set(name, _Window(window.units + amount, window.ends), now)
        return window.units + amount

    def find(self, key: str) -> _Window:
        """Return the fixed window of *key*: an empty one that ends now, where there is none."""
        now, name = self._now(), key_of(key)
        for kept in self._fixed.values():  # as many as there are different periods
            window = kept.get(name, now)
            if window is not None and window.ends > now:
                return window
        return _Window(0, now)

    def forget(self, key: str) -> None:
        """Count the fixed windows of *key* anew."""
        for kept in self._fixed.values():
            kept.pop(key_of(key))

    def acquire(self, key: str, limit: int, expiry: int, amount: int) -> bool:
        """Count *amount* in a sliding window, if it then holds no more than *limit*; say whether it does."""
        name, window, previous, left = self._slid(key, expiry)
        count = window.current.get(name, 0) + amount
        if count + faded(previous, left, window.period) > limit:
            return False
        window.write(name, count)
        return True

    def look(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return each window's count and the seconds that it still has weight, the previous one first."""
        name, window, previous, left = self._slid(key, expiry)
        return previous, left / 1000 if previous else 0.0, window.current.get(name, 0), left / 1000 + expiry

    def forget_sliding(self, key: str, expiry: int) -> None:
        """Count the sliding window of *key* anew."""
        name, window, _, _ = self._slid(key, expiry)
        window.forget(name)

    def reset(self) -> int:
        """Forget everything, and return how many counters that were."""
        held = sum(map(len, self._fixed.values())) + sum(map(len, self._sliding.values()))
        self._fixed, self._sliding = {}, {}
        return held

    def _slid(self, key: str, expiry: int) -> tuple[Key, Sliding, int, int]:
        """Return the key, the window as it is now, what its last one counted, and how long it lasts."""
        now, period, name = self._now(), milliseconds(expiry), key_of(key)
        if (window := self._sliding.get(period)) is None:
            window = self._sliding[period] = Sliding(period, self._max_keys)
        window.turn(now)
        return name, window, window.previous.get(name, 0), window.ends - now

    def _now(self) -> int:
        return milliseconds(self._clock())


class SipupStorage(aio.Storage, aio.SlidingWindowCounterSupport):
    """A storage of `limits.aio` that never waits: atomic where one thread uses it, on asyncio and trio.

    *max_keys* bounds the keys of a period in one window; one more, and the window before is forgotten early.
    """

    STORAGE_SCHEME = ["async+sipup"]  # noqa: RUF012 (as `limits` declares it)

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,  # noqa: FBT001, FBT002 (as `limits` calls it)
        *,
        max_keys: int = MAX_KEYS,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(uri, wrap_exceptions)
        self._counts = _Counts(max_keys, clock)

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """What there is to wrap: nothing fails."""
        return ()

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count *amount*, and return the count."""
        return self._counts.add(key, expiry, amount)

    async def get(self, key: str) -> int:
        """Return the count of a fixed window."""
        return self._counts.find(key).units

    async def get_expiry(self, key: str) -> float:
        """Return when a fixed window ends, in seconds since 1970."""
        return self._counts.find(key).ends / 1000

    async def check(self) -> bool:
        """Say yes."""
        return True

    async def reset(self) -> int | None:
        """Forget everything, and return how many counters that were."""
        return self._counts.reset()

    async def clear(self, key: str) -> None:
        """Count a fixed window anew."""
        self._counts.forget(key)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count *amount* if no more than *limit* is counted then; say whether that is so."""
        return self._counts.acquire(key, limit, expiry, amount)

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return each window's count and the seconds that it still has weight, the previous one first."""
        return self._counts.look(key, expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Count a sliding window anew."""
        self._counts.forget_sliding(key, expiry)


class ThreadedSipupStorage(threaded.Storage, threaded.SlidingWindowCounterSupport):
    """The same for threads, one of which counts at a time."""

    STORAGE_SCHEME = ["sipup"]  # noqa: RUF012 (as `limits` declares it)

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,  # noqa: FBT001, FBT002 (as `limits` calls it)
        *,
        max_keys: int = MAX_KEYS,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(uri, wrap_exceptions)
        self._counts = _Counts(max_keys, clock)
        self._turn = Lock()

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """What there is to wrap: nothing fails."""
        return ()

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count *amount*, and return the count."""
        with self._turn:
            return self._counts.add(key, expiry, amount)

    def get(self, key: str) -> int:
        """Return the count of a fixed window."""
        with self._turn:
            return self._counts.find(key).units

    def get_expiry(self, key: str) -> float:
        """Return when a fixed window ends, in seconds since 1970."""
        with self._turn:
            return self._counts.find(key).ends / 1000

    def check(self) -> bool:
        """Say yes."""
        return True

    def reset(self) -> int | None:
        """Forget everything, and return how many counters that were."""
        with self._turn:
            return self._counts.reset()

    def clear(self, key: str) -> None:
        """Count a fixed window anew."""
        with self._turn:
            self._counts.forget(key)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count *amount* if no more than *limit* is counted then; say whether that is so."""
        with self._turn:
            return self._counts.acquire(key, limit, expiry, amount)

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return each window's count and the seconds that it still has weight, the previous one first."""
        with self._turn:
            return self._counts.look(key, expiry)

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Count a sliding window anew."""
        with self._turn:
            self._counts.forget_sliding(key, expiry)
