"""One connection for a whole process: questions follow each other, and nobody gets another's answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sipup_middleware.bridge import here
from sipup_middleware.ratelimit.line import Client, Line
from sipup_middleware.ratelimit.wire import Refusal, packed
from sipup_middleware.redis_pool import redis_pool

PATIENT = 20.0
PING = packed("PING")


class Dialler(asyncio.Protocol):
    """What redis-py had there before."""

    told: tuple[Exception | None, ...] = ()

    def connection_lost(self, exc: Exception | None) -> None:
        self.told += (exc,)


class Wire(asyncio.Transport):
    """Keeps what is written, and ends when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.ended = False
        self.dialler = Dialler()
        self.protocol: asyncio.BaseProtocol = self.dialler

    def write(self, data: Any) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


async def at_home(test: Callable[[], Awaitable[None]]) -> None:
    """Run it where connections live: on asyncio."""
    await here().call(test)


def due(seconds: float = PATIENT) -> float:
    return asyncio.get_running_loop().time() + seconds


async def settled(*answers: asyncio.Future[Any]) -> list[Any]:
    return await asyncio.gather(*answers, return_exceptions=True)


async def test_the_first_question_goes_at_once_and_those_of_the_same_turn_together() -> None:
    async def test() -> None:
        line = Line(wire := Wire())

        answers = [line.ask(b"%d" % n, due()) for n in range(4)]
        at_once = list(wire.written)
        await asyncio.sleep(0)
        line.data_received(b":0\r\n:1\r\n:2\r\n:3\r\n")

        assert (at_once, wire.written) == ([b"0"], [b"0", b"123"])
        assert await settled(*answers) == [0, 1, 2, 3]
        line.end()

    await at_home(test)


async def test_whoever_stops_waiting_leaves_the_others_their_own_answers() -> None:
    async def test() -> None:
        line = Line(Wire())
        first, second, third = (line.ask(PING, due()) for _ in range(3))

        second.cancel()
        line.data_received(b":1\r\n:2\r\n:3\r\n")

        assert await settled(first, third) == [1, 3]
        assert line.alive
        line.end()

    await at_home(test)


async def test_answers_that_come_in_pieces_are_put_together() -> None:
    async def test() -> None:
        line = Line(Wire())
        answers = [line.ask(PING, due()) for _ in range(3)]

        for piece in b"*2\r\n:1\r\n$4\r\na\r\nb\r\n-OOM full\r\n:3\r\n":
            line.data_received(bytes([piece]))

        one, refusal, three = await settled(*answers)
        assert (one, three) == ([1, b"a\r\nb"], 3)
        assert isinstance(refusal, Refusal)
        line.end()

    await at_home(test)


async def test_with_the_first_question_that_is_not_answered_in_time_the_line_is_given_up() -> None:
    async def test() -> None:
        line = Line(wire := Wire())

        answers = [line.ask(PING, due(seconds)) for seconds in (0.01, PATIENT)]
        told = await settled(*answers)

        assert [type(each) for each in told] == [TimeoutError] * 2
        assert (line.alive, wire.ended) == (False, True)

    await at_home(test)


async def test_an_answer_that_lies_in_the_socket_of_a_loop_that_was_blocked_is_in_time() -> None:
    async def test() -> None:
        line = Line(Wire())
        answers = [line.ask(PING, due(-1)), line.ask(PING, due())]

        line._look_at_the_clock()
        line.data_received(b":1\r\n")
        line._look_at_the_clock()
        line.data_received(b":2\r\n")

        assert await settled(*answers) == [1, 2]
        assert line.alive
        line.end()

    await at_home(test)


async def test_a_line_that_is_idle_has_no_timer() -> None:
    async def test() -> None:
        line = Line(Wire())
        answer = line.ask(PING, due())
        line.data_received(b":1\r\n")

        line._look_at_the_clock()

        assert (await answer, line._timer) == (1, None)
        line.end()

    await at_home(test)


@pytest.mark.parametrize("nonsense", [b":1\r\n:2\r\n", b"HTTP/1.1 400 Bad Request\r\n"])
async def test_an_answer_that_nobody_asked_for_ends_the_line(nonsense: bytes) -> None:
    async def test() -> None:
        line = Line(wire := Wire())
        answer = line.ask(PING, due())

        line.data_received(nonsense)
        await settled(answer)

        assert (line.alive, wire.ended) == (False, True)

    await at_home(test)


async def test_a_line_that_breaks_is_told_to_whoever_waits_and_to_the_dialler() -> None:
    async def test() -> None:
        line = Line(wire := Wire())
        answer = line.ask(PING, due())

        line.connection_lost(None)

        assert [type(each) for each in await settled(answer)] == [ConnectionError]
        assert (line.alive, wire.dialler.told) == (False, (None,))

    await at_home(test)


@asynccontextmanager
async def served(path: Path, *connections: list[bytes]) -> AsyncIterator[tuple[Client, list[int]]]:
    """A client of a server that gives each connection its answers, then hangs up; and who was dialled."""
    unused, dialled = list(connections), list[int]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.append(len(dialled))
        for answer in unused.pop(0):
            await reader.readuntil(PING)
            writer.write(answer)
        await reader.read(1)
        writer.close()

    server = await asyncio.start_unix_server(serve, path / "s")
    client = Client(redis_pool(f"unix://{path}/s", timeout=PATIENT, option="x", extra="ratelimit"))
    try:
        yield client, dialled
    finally:
        await client.aclose()
        server.close()


async def test_a_line_that_went_stale_is_dialled_once_more(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path, [b":1\r\n"], [b":2\r\n"]) as (client, dialled):
            first = await client.ask(PING, due())
            second = await client.ask(PING, due())

        assert (first, second, dialled) == (1, 2, [0, 1])

    await at_home(test)


async def test_a_server_that_became_a_replica_is_dialled_once_more(tmp_path: Path) -> None:
    async def test() -> None:
        replica = b"-READONLY You can't write against a read only replica.\r\n"
        async with served(tmp_path, [b":1\r\n", replica], [b":2\r\n", replica], [replica]) as (
            client,
            dialled,
        ):
            moved = [await client.ask(PING, due()) for _ in range(2)]
            with pytest.raises(Refusal, match="READONLY"):
                await client.ask(PING, due())

        assert (moved, dialled) == ([1, 2], [0, 1, 2])

    await at_home(test)


async def test_many_who_ask_at_first_share_one_connection(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path, [b":%d\r\n" % n for n in range(9)]) as (client, dialled):
            answers = await asyncio.gather(*(client.ask(PING, due()) for _ in range(9)))

        assert (answers, dialled) == ([*range(9)], [0])

    await at_home(test)


async def test_a_dial_that_is_cancelled_is_left_to_the_next(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path, [], [b":1\r\n"]) as (client, _):
            hurried = asyncio.create_task(client.ask(PING, due()))
            await asyncio.sleep(0)
            hurried.cancel()
            await settled(hurried)
            answer = await client.ask(PING, due())

        assert answer == 1

    await at_home(test)


async def test_a_server_that_is_not_there_is_no_answer_by_the_deadline(tmp_path: Path) -> None:
    async def test() -> None:
        client = Client(redis_pool(f"unix://{tmp_path}/s", timeout=1, option="x", extra="ratelimit"))

        with pytest.raises(Exception, match="No such file"):
            await client.ask(PING, due())
        await client.aclose()

    await at_home(test)


def two_questions() -> tuple[Wire, Line, list[asyncio.Future[Any]]]:
    """Asked on a transport that then closes without a word."""
    wire = Wire()
    line = Line(wire)
    asked = [line.ask(PING, due()), line.ask(PING, due())]
    wire.ended = True
    return wire, line, asked


async def fails(answer: Awaitable[Any]) -> None:
    with pytest.raises(ConnectionError):
        await answer


async def test_a_transport_that_closed_without_a_word_is_a_broken_line() -> None:
    async def test() -> None:
        _, line, (first, second) = two_questions()

        with pytest.raises(ConnectionError):
            _ = line.ask(PING, due())
        await fails(first)
        await fails(second)
        assert not line.alive

    await at_home(test)


async def test_nor_is_anything_written_to_one_that_closed_before_its_turn_ended() -> None:
    async def test() -> None:
        wire, _, (first, second) = two_questions()

        await fails(second)
        await fails(first)
        assert wire.written == [PING]

    await at_home(test)
