"""What is promised inside a transaction is kept once it is committed, and only then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import asyncpg
import pytest

from sipup_middleware.database import Facade
from sipup_middleware.errors import ConfigurationError, DatabaseUnavailable, OutcomeUnknown, TransactionMisuse
from tests.database.test_facade import kill

pytestmark = pytest.mark.live


class OopsError(Exception):
    """The user's own."""


class Promises:
    """Promises by name, and those that were kept."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def __call__(self, name: str) -> Callable[[], Awaitable[None]]:
        async def keep() -> None:
            self.kept.append(name)

        return keep


@pytest.fixture
def promise() -> Promises:
    return Promises()


async def test_promises_are_kept_after_the_commit_in_their_order(db: Facade, promise: Promises) -> None:
    async with db.transaction():
        for name in ("a", "b", "c"):
            db.after_commit(promise(name))
        await db.fetchval("SELECT 1")
        assert promise.kept == []

    assert promise.kept == ["a", "b", "c"]


async def test_a_rollback_forgets_them(db: Facade, promise: Promises) -> None:
    with pytest.raises(OopsError):  # noqa: PT012 (the block is what is tested)
        async with db.transaction():
            db.after_commit(promise("a"))
            raise OopsError
    async with db.transaction():
        db.after_commit(promise("b"))

    assert promise.kept == ["b"]


async def test_what_was_promised_in_a_savepoint_waits_for_the_commit(db: Facade, promise: Promises) -> None:
    async with db.transaction():
        db.after_commit(promise("a"))
        async with db.transaction():
            async with db.transaction():
                db.after_commit(promise("b"))
            assert promise.kept == []
        db.after_commit(promise("c"))
        assert promise.kept == []

    assert promise.kept == ["a", "b", "c"]


async def test_a_savepoint_that_is_rolled_back_takes_its_own_along(db: Facade, promise: Promises) -> None:
    async with db.transaction():
        db.after_commit(promise("a"))
        with pytest.raises(OopsError):  # noqa: PT012 (the block is what is tested)
            async with db.transaction():
                db.after_commit(promise("b"))
                async with db.transaction():
                    db.after_commit(promise("c"))
                raise OopsError
        async with db.transaction():
            db.after_commit(promise("d"))

    assert promise.kept == ["a", "d"]


async def test_the_rollback_of_the_whole_forgets_what_savepoints_released(
    db: Facade, promise: Promises
) -> None:
    with pytest.raises(OopsError):  # noqa: PT012 (the block is what is tested)
        async with db.transaction():
            async with db.transaction():
                db.after_commit(promise("a"))
            raise OopsError

    assert promise.kept == []


async def test_a_commit_that_fails_keeps_none(db: Facade, table: str, promise: Promises) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):  # noqa: PT012 (the block is what is tested)
        async with db.transaction():
            await db.execute("INSERT INTO things VALUES (1), (1)")
            db.after_commit(promise("a"))

    assert promise.kept == []


async def test_a_commit_that_was_cut_off_keeps_none(db: Facade, table: str, promise: Promises) -> None:
    with pytest.raises((DatabaseUnavailable, OutcomeUnknown)):  # noqa: PT012 (the block is what is tested)
        async with db.transaction():
            await db.execute("INSERT INTO things VALUES (1)")
            db.after_commit(promise("a"))
            await kill(db, await db.fetchval("SELECT pg_backend_pid()"))

    assert promise.kept == []


async def test_a_promise_is_kept_outside_the_transaction_whose_data_it_sees(db: Facade, table: str) -> None:
    seen: list[Any] = []

    async def look() -> None:
        seen.append((db.in_transaction, await db.fetchval("SELECT count(*) FROM things")))
        with pytest.raises(ConfigurationError):
            db.after_commit(look)
        async with db.transaction():
            await db.execute("INSERT INTO things VALUES (2)")

    async with db.transaction():
        await db.execute("INSERT INTO things VALUES (1)")
        db.after_commit(look)

    assert seen == [(False, 1)]
    assert await db.fetchval("SELECT count(*) FROM things") == 2
    assert db.pool.stats()["in_use"] == 0


async def test_outside_a_transaction_a_promise_is_refused(db: Facade, promise: Promises) -> None:
    with pytest.raises(ConfigurationError, match=r"after_commit belongs inside: async with db\.transaction"):
        db.after_commit(promise("a"))


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_a_connection_that_is_held_is_no_transaction(db: Facade, promise: Promises) -> None:
    async with db.connection():
        assert not db.in_transaction
        with pytest.raises(ConfigurationError):
            db.after_commit(promise("a"))
        async with db.transaction():
            db.after_commit(promise("b"))
            assert promise.kept == []

        assert promise.kept == ["b"]


async def test_another_task_cannot_promise_in_it(db: Facade, promise: Promises) -> None:
    refused: list[type[Exception]] = []

    async def child() -> None:
        for ask in (lambda: db.after_commit(promise("a")), lambda: db.in_transaction):
            try:
                ask()
            except TransactionMisuse as error:
                refused.append(type(error))

    async with db.transaction(), anyio.create_task_group() as tasks:
        tasks.start_soon(child)

    assert refused == [TransactionMisuse] * 2
    assert promise.kept == []


async def test_a_task_is_in_a_transaction_from_its_begin_to_its_end(db: Facade) -> None:
    seen = [db.in_transaction]
    async with db.transaction():
        seen.append(db.in_transaction)
        async with db.transaction():
            seen.append(db.in_transaction)
        seen.append(db.in_transaction)
    seen.append(db.in_transaction)

    assert seen == [False, True, True, True, False]


async def test_a_facade_tells_which_database_it_asks(db: Facade) -> None:
    host, port, name = db.database

    assert host.startswith("/")
    assert (port, name) == ("5432", "postgres")
