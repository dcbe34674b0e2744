from __future__ import annotations

import anyio
import pytest

from sipup_middleware.store.flight import SingleFlight


async def test_a_lone_caller_leads_without_waiting() -> None:
    flights = SingleFlight()

    async with flights.join(b"key") as flight:
        assert flight.leads

    assert not flights.leaders


async def test_followers_go_on_when_the_leader_is_done() -> None:
    flights, followed = SingleFlight(), list[bool]()

    async def follow() -> None:
        async with flights.join(b"key") as flight:
            followed.append(flight.leads or flight.failed)

    async with anyio.create_task_group() as tasks, flights.join(b"key"):
        for _ in range(3):
            tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        assert not followed

    assert followed == [False] * 3
    assert flights.coalesced == 3


async def test_followers_are_told_that_the_leader_failed() -> None:
    flights, failed = SingleFlight(), list[bool]()

    async def follow() -> None:
        async with flights.join(b"key") as flight:
            failed.append(flight.failed)

    async def lead_and_fail() -> None:
        async with flights.join(b"key"):
            tasks.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            raise LookupError

    async with anyio.create_task_group() as tasks:
        with pytest.raises(LookupError):
            await lead_and_fail()

    assert failed == [True]


async def test_a_follower_waits_only_so_long() -> None:
    flights = SingleFlight(wait=0.01)

    async with flights.join(b"key"):
        with anyio.fail_after(5):
            async with flights.join(b"key") as flight:
                assert not flight.leads
                assert not flight.failed


async def test_keys_do_not_wait_for_each_other() -> None:
    flights = SingleFlight()

    async with flights.join(b"one"), flights.join(b"two") as flight:
        assert flight.leads


async def test_a_cancelled_follower_leaves_the_leader_alone() -> None:
    flights = SingleFlight()

    async def follow(scope: anyio.CancelScope) -> None:
        with scope:
            async with flights.join(b"key"):
                raise AssertionError("it was cancelled before")

    async with anyio.create_task_group() as tasks, flights.join(b"key") as flight:
        scope = anyio.CancelScope()
        tasks.start_soon(follow, scope)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()

    assert flight.leads
    assert not flights.leaders
