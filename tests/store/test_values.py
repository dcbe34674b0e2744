"""get_or_set: one maker, and copies for all."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from sipup_middleware.context import Context, enter
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store import OpenStore, Store
from tests.asgi import Exchange, http_scope
from tests.store.doubles import open_store


class Maker:
    """Returns *value*, slowly, and counts how often it was asked."""

    def __init__(self, value: Any, *, fail: int = 0) -> None:
        self.value = value
        self.calls = 0
        self.fail = fail

    async def __call__(self) -> Any:
        self.calls += 1
        await anyio.sleep(0.01)
        if self.calls <= self.fail:
            raise LookupError("not yet")
        return self.value


@pytest.mark.parametrize("value", [None, False, "", 0, [], {"a": [1, 2.5, "ü"]}])
async def test_whatever_json_carries_is_a_value(cache: OpenStore, value: Any) -> None:
    make = Maker(value)

    found = [await cache.get_or_set("key", make, ttl=60) for _ in range(3)]

    assert found == [value] * 3
    assert make.calls == 1


async def test_what_a_caller_does_to_its_copy_no_other_sees(cache: OpenStore) -> None:
    make = Maker({"names": ["a"]})

    first = await cache.get_or_set("key", make, ttl=60)
    first["names"].append("b")
    second = await cache.get_or_set("key", make, ttl=60)
    second["names"].append("c")

    assert await cache.get_or_set("key", make, ttl=60) == {"names": ["a"]}
    assert make.value == {"names": ["a"]}


async def test_the_first_caller_sees_the_value_as_later_ones_will(cache: OpenStore) -> None:
    make = Maker((1, 2))

    assert [await cache.get_or_set("key", make, ttl=60) for _ in range(2)] == [[1, 2], [1, 2]]


async def test_what_json_cannot_carry_is_refused_at_the_first_call(cache: OpenStore) -> None:
    with pytest.raises(ConfigurationError, match="this set is not"):
        await cache.get_or_set("key", Maker({1, 2}), ttl=60)


async def test_an_exception_is_not_a_value(cache: OpenStore) -> None:
    make = Maker("late", fail=1)

    with pytest.raises(LookupError):
        await cache.get_or_set("key", make, ttl=60)

    assert await cache.get_or_set("key", make, ttl=60) == "late"


async def test_a_hundred_callers_at_once_make_one_call(cache: OpenStore) -> None:
    make = Maker(["top"])
    found: list[Any] = []

    async def ask() -> None:
        found.append(await cache.get_or_set("key", make, ttl=60))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)

    assert found == [["top"]] * 100
    assert make.calls == 1


async def test_a_failing_leader_fails_alone(cache: OpenStore) -> None:
    make = Maker("value", fail=1)
    found: list[Any] = []

    async def ask() -> None:
        try:
            found.append(await cache.get_or_set("key", make, ttl=60))
        except LookupError as error:
            found.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)

    assert make.calls == 2, "the next one led, the others followed it"
    assert found.count("value") == 19


async def test_a_cancelled_leader_is_followed_by_another(cache: OpenStore) -> None:
    began, make = anyio.Event(), Maker("value")
    found: list[Any] = []

    async def never() -> Any:
        began.set()
        await anyio.sleep_forever()

    async def ask(scope: anyio.CancelScope, maker: Any) -> None:
        with scope:
            found.append(await cache.get_or_set("key", maker, ttl=60))

    async with anyio.create_task_group() as tasks:
        leader = anyio.CancelScope()
        tasks.start_soon(ask, leader, never)
        await began.wait()
        for _ in range(10):
            tasks.start_soon(ask, anyio.CancelScope(), make)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()

    assert found == ["value"] * 10
    assert make.calls == 1


async def test_a_value_that_may_not_be_stored_is_made_by_each_at_once() -> None:
    cache, together = open_store(), anyio.Event()
    inside = 0

    async def make() -> int:
        nonlocal inside
        inside += 1
        if inside == 1:
            await anyio.sleep(0.01)  # the leader
        elif inside == 10:
            together.set()
        else:
            await together.wait()  # a convoy would never get past here
        return inside

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(lambda: cache.get_or_set("key", make, ttl=0))

    assert inside == 10


async def test_a_purge_during_the_making_is_not_forgotten(cache: OpenStore) -> None:
    async def make_old() -> str:
        await cache.invalidate(tags=["products"])
        return "old"

    assert await cache.get_or_set("key", make_old, ttl=60, tags=["products"]) == "old"

    assert await cache.get_or_set("key", Maker("new"), ttl=60, tags=["products"]) == "new"


async def test_a_response_made_from_a_value_depends_on_its_tags() -> None:
    cache = open_store()
    await cache.get_or_set("top", Maker([1]), ttl=60, tags=["products"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        context: Context = scope["sipup"]
        context.tags = cache.collect()
        await cache.get_or_set("top", Maker([2]), ttl=60, tags=["products"])
        await cache.invalidate(tags=["products"])
        assert context.tags.seal() is None

    exchange = Exchange()
    await enter(app, http_scope(), exchange.receive, exchange.send)


def test_callers_on_several_threads_and_loops_share_a_flight() -> None:
    handle = Store().handle()
    make, found = Maker("value"), list[Any]()
    barrier = threading.Barrier(6)

    async def ask() -> None:
        barrier.wait()
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(one)

    async def one() -> None:
        with anyio.fail_after(5):
            found.append(await handle.get_or_set("key", make, ttl=60))

    threads = [
        threading.Thread(target=anyio.run, args=(ask,), kwargs={"backend": backend})
        for backend in ("asyncio", "trio") * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == ["value"] * 30
    assert make.calls == 1
