"""Calls cross loops and lose nothing: results, errors, ContextVars and cancellation arrive."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import anyio
import pytest

from sipup_middleware import bridge as module
from sipup_middleware.bridge import Home, bridge, here, spawn

WHO: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.fixture
def home() -> Iterator[Home]:
    """A loop in a thread of its own, so that a test may end it."""
    home = Home(asyncio.new_event_loop())
    thread = threading.Thread(target=home.loop.run_forever)
    thread.start()
    yield home
    home.post(home.loop.stop)
    thread.join()
    home.loop.close()


async def loop_and_sum(a: int, b: int) -> tuple[object, int]:
    await asyncio.sleep(0)
    return asyncio.get_running_loop(), a + b


async def fail() -> None:
    await asyncio.sleep(0)
    raise LookupError("there")


async def who() -> str:
    return WHO.get()


class Endless:
    """A call that goes on until it is cancelled, and remembers that it was."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.began, self.ended = threading.Event(), threading.Event()
        self.stubborn = stubborn
        self.release: asyncio.Future[None] | None = None

    async def run(self) -> None:
        self.release = asyncio.get_running_loop().create_future()
        self.began.set()
        try:
            await asyncio.shield(self.release)
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
            await self.release
        finally:
            self.ended.set()

    def let_go(self) -> None:
        if self.release is not None and not self.release.done():
            self.release.set_result(None)

    async def has_begun(self) -> None:
        assert await anyio.to_thread.run_sync(self.began.wait, 10)


async def test_a_call_runs_on_the_loop_of_its_home(home: Home) -> None:
    loop, total = await home.call(loop_and_sum, 1, 2)

    assert (loop, total) == (home.loop, 3)


async def test_an_error_comes_back_as_it_was(home: Home) -> None:
    with pytest.raises(LookupError, match="there"):
        await home.call(fail)


async def test_the_call_sees_the_callers_context_variables(home: Home) -> None:
    WHO.set("me")

    assert await home.call(who) == "me"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_on_its_own_loop_a_call_is_direct() -> None:
    seen: list[object] = []

    async def note_task() -> None:
        seen.append(asyncio.current_task())

    await here().call(note_task)

    assert seen == [asyncio.current_task()]


async def test_many_calls_cross_at_once(home: Home) -> None:
    totals: list[int] = []

    async def ask(number: int) -> None:
        totals.append((await home.call(loop_and_sum, number, 1))[1])

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(ask, number)

    assert sorted(totals) == list(range(1, 51))


async def test_cancellation_is_forwarded_and_awaited(home: Home) -> None:
    endless = Endless()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(home.call, endless.run)
        await endless.has_begun()
        tasks.cancel_scope.cancel()

    assert endless.ended.is_set()


async def test_a_call_that_ignores_its_cancellation_is_given_up(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.01)
    endless = Endless(stubborn=True)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(home.call, endless.run)
            await endless.has_begun()
            tasks.cancel_scope.cancel()

    assert not endless.ended.is_set()
    home.post(endless.let_go)
    assert await anyio.to_thread.run_sync(endless.ended.wait, 10)


async def test_a_call_that_was_done_before_its_cancellation_leaves_nothing_behind(home: Home) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await home.call(loop_and_sum, 1, 2)

    assert await home.call(loop_and_sum, 3, 4) == (home.loop, 7)


async def test_a_home_whose_loop_is_closed_refuses_calls_and_drops_posts() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    dead = Home(loop)

    dead.post(print)

    assert not dead.alive
    with pytest.raises(RuntimeError, match="closed"):
        await dead.call(who)


async def test_background_work_runs_at_home_until_it_is_closed(home: Home) -> None:
    endless = Endless()

    background = spawn(home, endless.run, name="endless")
    await endless.has_begun()
    await background.aclose()

    assert endless.ended.is_set()


async def test_background_work_begins_at_once_where_home_is_here() -> None:
    home = here()
    endless = Endless()

    background = spawn(home, endless.run, name="endless")
    await endless.has_begun()
    await background.aclose()
    await background.aclose()

    assert endless.ended.is_set()


async def test_background_work_that_fails_is_told_without_its_message(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("ERROR")  # asyncio's debug mode warns of slow machines
    background = spawn(home, fail, name="sweeper")
    with anyio.fail_after(10):
        while not caplog.messages:  # noqa: ASYNC110 (a log record has no event to wait for)
            await anyio.sleep(0.001)
    await background.aclose()

    assert caplog.messages == ["background task sweeper ended by LookupError"]
    assert "there" not in caplog.text


async def test_the_bridge_is_one_thread_a_process() -> None:
    assert bridge() is bridge()
    assert bridge().alive
    assert not bridge().is_here


async def test_here_is_the_running_asyncio_loop_and_the_bridge_from_trio(anyio_backend_name: str) -> None:
    if anyio_backend_name == "trio":
        assert here() is bridge()
    else:
        assert here().is_here


def test_outside_any_loop_here_is_the_bridge() -> None:
    assert here() is bridge()


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_gets_a_bridge_of_its_own() -> None:
    async def answer() -> int:
        return 7

    assert anyio.run(bridge().call, answer) == 7

    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = anyio.run(bridge().call, answer)
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_what_was_opened_on_the_bridge_is_closed_when_the_process_ends() -> None:
    script = """
import asyncio
from sipup_middleware.bridge import bridge

def closer(name):
    async def close():
        await asyncio.sleep(0)
        print(name, flush=True)
    return close

async def hang():
    await asyncio.sleep(3600)

async def fail():
    raise RuntimeError

for close in (hang, closer("first"), fail, closer("last")):
    bridge().at_exit(close)
"""

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )

    assert (done.stdout.split(), done.stderr) == (["last", "first"], "")
