"""Jobs of a request: handed over with the data that they belong to, or never."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Annotated, Any

import anyio
import asyncpg
import pytest
from fastapi import Depends, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware import Database, JobsUnavailable, PoolConfig
from sipup_middleware.bridge import bridge
from sipup_middleware.context import Context
from sipup_middleware.errors import ConfigurationError, JobFailed, TransactionMisuse
from sipup_middleware.jobs import Job, JobContext, Jobs, OpenJobs, current, job
from sipup_middleware.jobs import handle as handle_module
from sipup_middleware.telemetry import BackendLost, BackendRestored, JobsLost
from tests.asgi import get, hello, lifespan
from tests.jobs.asking import numbers, queued
from tests.jobs.servers import new_database
from tests.jobs.shop import TASKS, jobs_at
from tests.jobs.sites import Handler, Site, bare, starlette

pytestmark = pytest.mark.live

HOSTS = pytest.mark.parametrize("host", [bare, starlette])
NOWHERE = "unix:///nonexistent.internal/valkey.sock?db=0"
NO_POSTGRES = "postgresql://app:hunter2@/app?host=/nonexistent.internal&port=5432"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class OopsError(Exception):
    """The handler's own."""


def database_at(url: str) -> Database:
    return Database(url, pool=PoolConfig(min=0, max=5))


@pytest.fixture
def database(jobs_database: str) -> Database:
    return database_at(jobs_database)


@pytest.fixture
def layer(broker_url: str, queue: str) -> Jobs:
    return jobs_at(broker_url, queue=queue)


@pytest.fixture
def word() -> str:
    """What this test's request writes down."""
    return token_hex(8)


async def write(sipup: Context, word: str) -> None:
    """Write data and enqueue a job that belongs to it."""
    await sipup.db.execute("INSERT INTO notes (word) VALUES ($1)", word)
    await sipup.jobs.enqueue("add", {"a": 1})


async def written(sipup: Context, word: str) -> int:
    return int(await sipup.db.fetchval("SELECT count(*) FROM notes WHERE word = $1", word))


async def one(sipup: Context) -> object:
    return (await sipup.jobs.enqueue("add", {"a": 1})).created


@asynccontextmanager
async def closing(layer: Jobs) -> AsyncIterator[None]:
    """Close what a layer without lifespan opened lazily, instead of at the process's end."""
    try:
        yield
    finally:
        if (opened := layer._opening.handle) is not None:
            await opened.home.call(opened.aclose)


@HOSTS
async def test_a_request_hands_a_job_over(layer: Jobs, host: Callable[[Handler], ASGIApp]) -> None:
    async def handle(sipup: Context) -> object:
        before = await queued(sipup.jobs)
        created = await one(sipup)
        return [before, created, await queued(sipup.jobs)]

    async with Site(handle, layer, host=host).up() as site:
        reply = await site.get()

    assert reply.json() == [0, True, 1]
    assert site.counted("created") == 1


async def test_a_job_is_seen_when_its_transaction_is_committed_and_not_before(
    database: Database, layer: Jobs, word: str
) -> None:
    async def handle(sipup: Context) -> object:
        async with sipup.db.transaction():
            await write(sipup, word)
            before = await queued(sipup.jobs)
        return [before, await queued(sipup.jobs), await written(sipup, word)]

    async with Site(handle, database, layer).up() as site:
        assert (await site.get()).json() == [0, 1, 1]

    assert site.counted("created") == 1


async def test_a_job_is_gone_with_its_transaction(database: Database, layer: Jobs, word: str) -> None:
    async def handle(sipup: Context) -> object:
        with pytest.raises(OopsError):  # noqa: PT012 (the block is what is tested)
            async with sipup.db.transaction():
                await write(sipup, word)
                raise OopsError
        await sipup.jobs.enqueue("add", {"a": 2}, priority="high")  # had the first been sent, it was before
        backlogs = (await numbers(sipup.jobs)).backlogs
        return [backlogs["high"].queued, backlogs["normal"].queued, await written(sipup, word)]

    async with Site(handle, database, layer).up() as site:
        assert (await site.get()).json() == [1, 0, 0]


async def test_a_job_is_gone_with_its_savepoint(database: Database, layer: Jobs, word: str) -> None:
    async def handle(sipup: Context) -> object:
        async with sipup.db.transaction():
            await sipup.jobs.enqueue("add", {"a": 1}, priority="high")
            with pytest.raises(OopsError):  # noqa: PT012 (the block is what is tested)
                async with sipup.db.transaction():
                    await write(sipup, word)
                    raise OopsError
            async with sipup.db.transaction():
                await sipup.jobs.enqueue("add", {"a": 3}, priority="low")
        return {name: each.queued for name, each in (await numbers(sipup.jobs)).backlogs.items()}

    async with Site(handle, database, layer).up() as site:
        assert (await site.get()).json() == {"high": 1, "normal": 0, "low": 1}


async def test_a_cancelled_request_leaves_neither_data_nor_job(
    database: Database, layer: Jobs, word: str
) -> None:
    async def handle(sipup: Context) -> object:
        with anyio.move_on_after(0.05):
            async with sipup.db.transaction():
                await write(sipup, word)
                await anyio.sleep_forever()
        return [await queued(sipup.jobs), await written(sipup, word)]

    async with Site(handle, database, layer).up() as site:
        assert (await site.get()).json() == [0, 0]


async def test_in_the_queues_own_database_a_job_is_one_statement_of_the_transaction(
    database: Database, jobs_database: str, queue: str
) -> None:
    async def handle(sipup: Context) -> object:
        async with sipup.db.transaction():
            handle = await sipup.jobs.enqueue("add", {"a": 1}, unique_key="twin")
            again = await sipup.jobs.enqueue("add", {"a": 1}, unique_key="twin")
        hold_nothing = sipup.db.pool.stats()["in_use"]
        return [handle.created, again.created, hold_nothing]

    async with Site(handle, database, jobs_at(jobs_database, queue=queue)).up() as site:
        assert (await site.get()).json() == [True, False, 0]

    assert (site.counted("created"), site.counted("duplicate")) == (1, 1)


async def test_in_another_database_a_job_is_sent_once_the_data_is_committed(
    database_url: str, empty_database: str, queue: str
) -> None:
    async def handle(sipup: Context) -> object:
        async with sipup.db.transaction():
            handle = await sipup.jobs.enqueue("add", {"a": 1})
            before = await queued(sipup.jobs)
        return [handle.created, before, await queued(sipup.jobs)]

    async with Site(handle, database_at(database_url), jobs_at(empty_database, queue=queue)).up() as site:
        assert (await site.get()).json() == [None, 0, 1]


async def test_a_commit_that_fails_sends_nothing(database: Database, layer: Jobs) -> None:
    async def handle(sipup: Context) -> object:
        with pytest.raises(asyncpg.UniqueViolationError):  # noqa: PT012 (the block is what is tested)
            async with sipup.db.transaction():
                await sipup.db.execute("CREATE TABLE things (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
                await sipup.db.execute("INSERT INTO things VALUES (1), (1)")
                await sipup.jobs.enqueue("add", {"a": 1})
        return await queued(sipup.jobs)

    async with Site(handle, database, layer).up() as site:
        assert (await site.get()).json() == 0


async def test_a_task_that_was_started_inside_cannot_enqueue_in_the_transaction(
    database: Database, layer: Jobs
) -> None:
    refused: list[str] = []

    async def child(sipup: Context) -> None:
        try:
            await one(sipup)
        except TransactionMisuse as error:
            refused.append(str(error))

    async def handle(sipup: Context) -> object:
        async with sipup.db.transaction(), anyio.create_task_group() as tasks:
            tasks.start_soon(child, sipup)
        return await queued(sipup.jobs)

    async with Site(handle, database, layer).up() as site:
        assert (await site.get()).json() == 0

    assert len(refused) == 1


async def test_while_the_queue_is_away_nothing_is_committed_and_the_client_gets_503(
    database: Database, jobs_database: str, word: str
) -> None:
    async def handle(sipup: Context) -> object:
        async with sipup.db.transaction():
            await write(sipup, word)
        return "committed"

    async def count(sipup: Context) -> object:
        return await written(sipup, word)

    async with Site(handle, database, Jobs(NOWHERE, tasks=TASKS)).up() as site:
        reply = await site.get()
    async with Site(count, database_at(jobs_database)).up() as other:
        rows = (await other.get()).json()

    assert (reply.status, reply.headers["content-type"]) == (503, "application/problem+json")
    assert int(reply.headers["retry-after"]) >= 1
    assert b"nonexistent" not in reply.body
    assert rows == 0
    assert site.counted("error") == 1
    assert [type(fact) for fact in site.facts] == [BackendLost]


@pytest.mark.parametrize("url", [NOWHERE, NO_POSTGRES])
@HOSTS
async def test_a_handler_may_do_without_the_queue(url: str, host: Callable[[Handler], ASGIApp]) -> None:
    async def handle(sipup: Context) -> object:
        try:
            return await one(sipup)
        except JobsUnavailable as error:
            return str(error)

    async with Site(handle, Jobs(url, tasks=TASKS), host=host).up() as site:
        reply = await site.get()

    assert reply.status == 200
    assert "cannot be reached" in reply.json() or "does not answer" in reply.json()
    assert "hunter2" not in reply.json()
    assert "nonexistent" not in reply.json()


@pytest.mark.parametrize("url", [NOWHERE, NO_POSTGRES])
@HOSTS
async def test_alone_the_layer_answers_for_its_server(url: str, host: Callable[[Handler], ASGIApp]) -> None:
    async with Site(one, Jobs(url, tasks=TASKS), host=host).up() as site:
        replies = [await site.get() for _ in range(3)]

    assert {(reply.status, reply.headers["content-type"]) for reply in replies} == {
        (503, "application/problem+json")
    }
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies)
    assert site.counted("error") == 3
    assert [type(fact) for fact in site.facts] == [BackendLost], "told once"


async def test_of_two_layers_one_answers_for_the_outage(database: Database) -> None:
    async with Site(one, database, Jobs(NOWHERE, tasks=TASKS)).up() as site:
        reply = await site.get(headers=[("traceparent", TRACEPARENT)])

    assert reply.json() == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "instance": TRACEPARENT.split("-")[1],
    }


def failing(sipup: Context, error: type[Exception]) -> Callable[[], None]:
    """Have the queue's server go away after its answer to a ping; return what repairs it."""
    broker = sipup.jobs._queue.broker
    enqueue = broker.enqueue

    async def fails(jobs: Any) -> set[str]:
        if error is TimeoutError:
            await asyncio.Event().wait()  # the broker is on asyncio, whatever loop its caller runs
        raise error("hunter2")

    broker.enqueue = fails  # type: ignore[method-assign]  # (a server cannot be timed so well)

    def repair() -> None:
        broker.enqueue = enqueue  # type: ignore[method-assign]  # (likewise)

    return repair


@pytest.mark.parametrize("error", [JobsUnavailable, LookupError, TimeoutError])
async def test_an_outage_after_the_ping_does_not_fail_what_is_committed_and_is_told(  # noqa: PLR0913, PLR0917 (fixtures)
    database: Database,
    redis_url: str,
    queue: str,
    word: str,
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handle_module, "TIMEOUT", 0.1)

    async def handle(sipup: Context) -> object:
        async with sipup.db.transaction():
            await write(sipup, word)
            await sipup.jobs.enqueue_many([Job("add", {"a": 2}), Job("add", {"a": 3})])
            repair = failing(sipup, error)
        repair()
        lost = await queued(sipup.jobs)
        await one(sipup)
        return [lost, await queued(sipup.jobs), await written(sipup, word)]

    async with Site(handle, database, jobs_at(redis_url, queue=queue)).up() as site:
        reply = await site.get()

    assert (reply.status, reply.json()) == (200, [0, 1, 1])
    assert site.counted("lost") == 3
    assert site.facts == [
        JobsLost(1, error.__name__),
        BackendLost("jobs", error.__name__),
        JobsLost(2, error.__name__),
        BackendRestored("jobs"),
    ]


async def test_a_request_that_is_cancelled_once_it_is_committed_does_not_lose_its_job(
    database: Database, redis_url: str, queue: str, word: str
) -> None:
    async def handle(sipup: Context) -> object:
        with anyio.CancelScope() as scope:

            async def cancel() -> None:
                scope.cancel()

            async with sipup.db.transaction():
                sipup.db.after_commit(cancel)
                await write(sipup, word)
        return [scope.cancel_called, await queued(sipup.jobs), await written(sipup, word)]

    async with Site(handle, database, jobs_at(redis_url, queue=queue)).up() as site:
        assert (await site.get()).json() == [True, 1, 1]


async def test_the_request_travels_with_its_job(anyio_backend: Any) -> None:
    seen: list[dict[str, str]] = []

    @job("look")
    async def look(ctx: JobContext) -> None:
        seen.append(dict(ctx.meta))

    async def handle(sipup: Context) -> object:
        await sipup.jobs.enqueue("look")
        return sipup.request_id

    async with Site(handle, Jobs("memory://", tasks=(look,))).up() as site:
        traced = (await site.get(headers=[("traceparent", TRACEPARENT)])).json()
        plain = (await site.get()).json()

    assert traced == TRACEPARENT.split("-")[1]
    assert seen == [{"request_id": traced, "traceparent": TRACEPARENT}, {"request_id": plain}]


async def test_an_inline_job_sees_its_requests_database(database: Database, word: str) -> None:
    async def handle(sipup: Context) -> object:
        handle = await sipup.jobs.enqueue("note", {"word": word})
        with pytest.raises(JobFailed, match="ValueError: never with"):
            await (await sipup.jobs.enqueue("fail", {"word": word})).result()
        return [await handle.result(), await written(sipup, word)]

    async with Site(handle, database, Jobs("memory://", tasks=TASKS)).up() as site:
        assert (await site.get()).json() == [None, 2]


async def test_current_is_the_requests_handle_and_fits_depends(layer: Jobs) -> None:
    app = FastAPI()

    @app.get("/")
    async def endpoint(jobs: Annotated[OpenJobs, Depends(current)]) -> bool:
        return jobs is current()

    async with lifespan(wrapped := layer(app)):
        assert (await get(wrapped)).json() is True


async def test_without_the_layer_a_request_is_told_which_is_missing(database: Database) -> None:
    async def handle(sipup: Context) -> object:
        with pytest.raises(ConfigurationError, match="no Jobs layer wraps this app"):
            current()
        with pytest.raises(AttributeError, match="no Jobs layer wraps this app"):
            sipup.jobs  # noqa: B018 (reading it is the point)
        return True

    async with Site(handle, database).up() as site:
        assert (await site.get()).json() is True


def test_outside_a_request_there_is_no_current_queue() -> None:
    with pytest.raises(ConfigurationError, match="no request is being served"):
        current()


async def test_the_lifespan_opens_and_closes_the_queue(layer: Jobs) -> None:
    app = layer(bare(one))

    async with lifespan(app):
        opened = layer._opening.handle
        assert opened is not None
        assert opened.broker.ready
        assert (await get(app)).json() is True

    assert layer._opening.handle is None


@pytest.mark.parametrize("url", [NOWHERE, NO_POSTGRES])
async def test_a_server_that_is_away_does_not_fail_the_start(url: str) -> None:
    async with lifespan(app := Jobs(url)(hello)):
        assert (await get(app)).body == b"hello"


@HOSTS
async def test_without_lifespan_the_queue_opens_at_the_first_use(
    layer: Jobs, host: Callable[[Handler], ASGIApp]
) -> None:
    app = layer(host(one))

    async with closing(layer):
        assert [(await get(app)).json() for _ in range(3)] == [True, True, True]


def test_without_lifespan_each_request_may_have_a_loop_of_its_own(layer: Jobs) -> None:
    app = layer(bare(one))

    replies = [asyncio.run(get(app)).json() for _ in range(3)]

    assert replies == [True, True, True]
    opened = layer._opening.handle
    assert opened is not None
    asyncio.run(opened.home.call(opened.aclose))


async def test_a_websocket_has_the_queue_too(layer: Jobs) -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await one(scope["sipup"]))

    async def silent(*_: Any) -> Any:
        raise AssertionError

    async with closing(layer):
        await layer(app)({"type": "websocket", "path": "/", "headers": [], "state": {}}, silent, silent)

    assert seen == [True]


async def test_what_is_neither_http_nor_websocket_is_passed_on(layer: Jobs) -> None:
    seen: list[object] = []

    async def app(*given: object) -> None:
        seen.extend(given)

    given: Any = ({"type": "telepathy"}, object(), object())
    await layer(app)(*given)

    assert all(one is other for one, other in zip(seen, given, strict=True))


def test_two_databases_of_one_server_are_two(database_url: str) -> None:
    with new_database(database_url) as other:
        broker: Any = Jobs(other)._broker()

        class Facade:
            database = database_at(database_url)._build(bridge()).database

        assert not broker.joins(Facade())
