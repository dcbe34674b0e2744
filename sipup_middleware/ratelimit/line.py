"""One connection to Redis or Valkey, on which the questions of a whole process follow each other.

redis-py dials it, with all that its URL says of logins, TLS and sentinels; from then on we write and read.
A question is sent at once where none is on its way, else with all those of the same turn of the event loop.
Answers come in the order of the questions, so whoever stops waiting for one breaks nothing: it is dropped as
it comes. There is no timer a question: one watches the oldest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection

from sipup_middleware.ratelimit.wire import CutShort, Refusal, unpacked

__all__ = ("Client", "Line")

_GRACE = 0.001
"""Seconds past a deadline: a loop that was blocked reads what lies in its socket before it gives up."""


class Line(asyncio.Protocol):
    """A dialled connection; with the first question that is not answered in time it is given up."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.alive = True
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._asked: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._unsent: list[bytes] = []
        self._unread = b""
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False
        self._dialler = transport.get_protocol()
        transport.set_protocol(self)

    def ask(self, command: bytes, deadline: float) -> asyncio.Future[Any]:
        """Send a packed *command*; the answer is due at *deadline*, by the loop's clock.

        It may be a `Refusal`. Its error is `TimeoutError`, or `ConnectionError` where the line broke.
        """
        if self._transport.is_closing():  # and it has not told us yet
            self.end()
            raise ConnectionError
        answer: asyncio.Future[Any] = self._loop.create_future()
        if not self._asked:
            self._transport.write(command)
        else:
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(command)
        self._asked.append((answer, deadline))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._look_at_the_clock)
        return answer

    def end(self, error: type[OSError] = ConnectionError) -> None:
        """Give it up; whoever waits gets *error*."""
        if not self.alive:
            return
        self.alive = False
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        for answer, _ in self._asked:
            if not answer.done():
                answer.set_exception(error())

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that have come."""
        data, at = self._unread + data, 0
        self._is_late = False
        try:
            while at < len(data):
                reply, at = unpacked(data, at)
                answer, _ = self._asked.popleft()
                if not answer.done():
                    answer.set_result(reply)
        except CutShort:
            pass
        except (IndexError, ValueError):  # an answer to nothing, or none: whatever follows is no better
            self.end()
        self._unread = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up, and let redis-py know that it is closed."""
        self.end()
        self._dialler.connection_lost(exc)

    def _flush(self) -> None:
        commands, self._unsent = self._unsent, []
        if self._transport.is_closing():
            return self.end()
        return self._transport.write(b"".join(commands))

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if not self._asked:
            return
        due = self._asked[0][1]
        now = self._loop.time()
        if now < due:
            self._timer = self._loop.call_at(due, self._look_at_the_clock)
        elif not self._is_late:
            self._is_late = True
            self._timer = self._loop.call_at(now + _GRACE, self._look_at_the_clock)
        else:
            self.end(TimeoutError)


class Client:
    """Asks one server, on a `Line` that is dialled when it is needed."""

    def __init__(self, pool: BlockingConnectionPool) -> None:
        self._pool = pool
        self._connection = cast("AbstractConnection", pool.make_connection())  # type: ignore[no-untyped-call]  # (redis-py)
        self._line: Line | None = None
        self._dialling = asyncio.Lock()

    async def ask(self, command: bytes, deadline: float) -> Any:  # noqa: ANN401 (whatever the server answers)
        """Return the answer to a packed *command*.

        Raises `Refusal`, `TimeoutError` at *deadline*, and what redis-py raises where it cannot dial. A line
        that broke, or whose server has become a replica, is dialled once more.
        """
        line = self._line
        if line is not None and line.alive:
            try:
                return _accepted(await line.ask(command, deadline))
            except ConnectionError:
                pass
            except Refusal as refusal:
                if refusal.code != "READONLY":
                    raise
                line.end()
        async with asyncio.timeout_at(deadline):
            line = await self._dialled()
            return _accepted(await line.ask(command, deadline))

    async def aclose(self) -> None:
        """Close the connection, and those to sentinels."""
        if self._line is not None:
            self._line.end()
        await self._connection.disconnect()
        await self._pool.disconnect()

    async def _dialled(self) -> Line:
        async with self._dialling:
            if self._line is None or not self._line.alive:
                await self._connection.disconnect(nowait=True)  # the one that broke, or was half dialled
                await self._connection.connect()  # type: ignore[no-untyped-call]  # (redis-py)
                writer = self._connection._writer  # noqa: SLF001 (redis-py shows nobody its transport)
                self._line = Line(cast("asyncio.Transport", cast("asyncio.StreamWriter", writer).transport))
            return self._line


def _accepted(reply: Any) -> Any:  # noqa: ANN401 (whatever the server answers)
    if isinstance(reply, Refusal):
        raise reply
    return reply
