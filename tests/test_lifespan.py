"""The order of events at startup and shutdown is the whole point, so tests spell it out."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipup_middleware import lifespan as module
from sipup_middleware.bridge import Home, bridge, here
from sipup_middleware.lifespan import Opening, run_lifespan


async def speaks_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    for phase in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{phase}"
        await send({"type": f"lifespan.{phase}.complete"})


async def ignores_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotImplementedError(scope["type"])


async def hears_and_raises(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise NotImplementedError(scope["type"])


async def says_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def fails_to_start(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "app"})
    raise RuntimeError


async def fails_to_start_politely(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "app"})


async def fails_while_up(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    raise RuntimeError


async def fails_to_stop(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "app"})


async def serve(app: ASGIApp, *, fail: str = "") -> list[str]:
    """Run one lifespan; return what was opened, sent and closed, in order."""
    log: list[str] = []
    inbox = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        _record(log, "open", fail)
        try:
            yield
        finally:
            _record(log, "close", fail)

    async def receive() -> Message:
        return inbox.pop()

    async def send(message: Message) -> None:
        log.append(message["type"].removeprefix("lifespan."))

    try:
        await run_lifespan(app, {"type": "lifespan"}, receive, send, resource=resource())
    except Exception as error:
        log.append(type(error).__name__)
    return log


def _record(log: list[str], step: str, fail: str) -> None:
    if step == fail:
        raise ConnectionError
    log.append(step)


@pytest.mark.parametrize(
    ("app", "fail", "expected"),
    [
        (speaks_lifespan, "", ["open", "startup.complete", "close", "shutdown.complete"]),
        (ignores_lifespan, "", ["open", "startup.complete", "close", "shutdown.complete"]),
        (hears_and_raises, "", ["open", "startup.complete", "close", "shutdown.complete"]),
        (says_nothing, "", ["open", "startup.complete", "close", "shutdown.complete"]),
        (speaks_lifespan, "open", ["startup.failed", "ConnectionError"]),
        (speaks_lifespan, "close", ["open", "startup.complete", "shutdown.failed", "ConnectionError"]),
        (fails_to_start, "", ["open", "startup.failed", "close", "RuntimeError"]),
        (fails_to_start_politely, "", ["open", "startup.failed", "close"]),
        (fails_while_up, "", ["open", "startup.complete", "close", "shutdown.failed", "RuntimeError"]),
        (fails_to_stop, "", ["open", "startup.complete", "close", "shutdown.failed"]),
    ],
)
async def test_order(app: Any, fail: str, expected: list[str]) -> None:
    assert await serve(app, fail=fail) == expected


@dataclass
class Probe:
    """A handle that writes down what happens to it."""

    home: Home
    log: list[str] = field(default_factory=list)

    async def start(self) -> None:
        assert self.home.is_here
        self.log.append("start")

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        assert self.home.is_here
        self.log.append("close")


class ClosedAtExit:
    """Stands in for the bridge's at-exit list, which a test would otherwise fill."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.closers: list[Callable[[], Any]] = []
        monkeypatch.setattr(Home, "at_exit", lambda home, close: self.closers.append(close))


@pytest.fixture
def at_exit(monkeypatch: pytest.MonkeyPatch) -> ClosedAtExit:
    return ClosedAtExit(monkeypatch)


async def test_the_first_entry_opens_and_the_last_closes() -> None:
    opening: Opening[Probe] = Opening()

    async with opening.open(Probe) as first:
        async with opening.open(Probe) as second:
            assert second is first
        assert opening.get(Probe) is first
        assert first.log == ["start"]

    assert first.log == ["start", "close"]


async def test_it_opens_on_the_running_asyncio_loop_and_from_trio_on_the_bridge() -> None:
    async with Opening[Probe]().open(Probe) as handle:
        assert handle.home.loop is here().loop


async def test_it_opens_anew_after_it_was_closed() -> None:
    opening: Opening[Probe] = Opening()

    async with opening.open(Probe) as first:
        pass
    async with opening.open(Probe) as second:
        pass

    assert first is not second
    assert second.log == ["start", "close"]


async def test_it_closes_even_where_it_is_cancelled() -> None:
    with anyio.CancelScope() as scope:
        async with Opening[Probe]().open(Probe) as handle:
            scope.cancel()

    assert handle.log == ["start", "close"]


async def test_it_closes_where_it_could_not_start() -> None:
    class Broken(Probe):
        async def start(self) -> None:
            raise ConnectionError

    made: list[Broken] = []

    def build(home: Home) -> Broken:
        made.append(Broken(home))
        return made[-1]

    with pytest.raises(ConnectionError):
        async with Opening[Broken]().open(build):
            pass

    assert made[0].log == ["close"]


async def test_without_lifespan_it_opens_on_the_bridge_until_the_process_ends(at_exit: ClosedAtExit) -> None:
    opening: Opening[Probe] = Opening()

    handle = opening.get(Probe)

    assert opening.get(Probe) is handle
    assert handle.home is bridge()
    assert handle.log == []
    assert at_exit.closers == [handle.aclose]


async def test_a_lifespan_that_comes_after_the_first_request_shares_what_is_open(
    at_exit: ClosedAtExit,
) -> None:
    opening: Opening[Probe] = Opening()
    lazy = opening.get(Probe)

    for _ in range(2):
        async with opening.open(Probe) as handle:
            assert handle is lazy

    assert lazy.log == ["start"]


def test_it_opens_anew_where_the_loop_it_lived_on_has_ended(at_exit: ClosedAtExit) -> None:
    opening: Opening[Probe] = Opening()
    abandoned = opening.open(Probe)
    loop = asyncio.new_event_loop()

    dead = loop.run_until_complete(abandoned.__aenter__())
    lazy = opening.get(Probe)
    loop.run_until_complete(abandoned.__aexit__(None, None, None))
    loop.close()

    assert dead is not lazy
    assert opening.get(Probe) is lazy


def test_openings_on_two_threads_share_one_handle(at_exit: ClosedAtExit) -> None:
    opening: Opening[Probe] = Opening()
    first = opening.get(Probe)
    seen: list[Probe] = []

    async def use() -> None:
        async with opening.open(Probe) as handle:
            seen.append(handle)

    thread = threading.Thread(target=asyncio.run, args=(use(),))
    thread.start()
    thread.join()

    assert seen == [first]


def test_a_layers_copy_and_its_pickle_have_an_opening_of_their_own(at_exit: ClosedAtExit) -> None:
    opening: Opening[Probe] = Opening()
    handle = opening.get(Probe)

    for other in (copy.copy(opening), pickle.loads(pickle.dumps(opening))):
        assert isinstance(other, module.Opening)
        assert other.get(Probe) is not handle
