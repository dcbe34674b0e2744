"""An outage that a handler lets fly is answered by us, and nothing else is touched."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware import (
    ClientDisconnected,
    DatabaseUnavailable,
    JobsUnavailable,
    OutcomeUnknown,
    PoolTimeout,
    QueryTimeout,
)
from sipup_middleware.context import enter
from sipup_middleware.outage import answer_outages
from tests.asgi import Exchange, get, http_scope

TRACEPARENT = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


class Shell:
    """What a layer with a facade does for HTTP."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "sipup" not in scope:
            return await enter(self, scope, receive, send)
        return await answer_outages(self.app, scope, receive, send)


class Host:
    """An app whose facade failed: it notes *failure*, answers with *statuses*, then raises *error*."""

    def __init__(
        self,
        failure: Exception | None = None,
        *,
        statuses: tuple[int, ...] = (),
        error: Exception | None = None,
    ) -> None:
        self.failure, self.statuses, self.error = failure, statuses, error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["sipup"].failure = self.failure
        for status in self.statuses:
            await send({"type": "http.response.start", "status": status, "headers": [(b"x-host", b"yes")]})
            await send({"type": "http.response.body", "body": b"host", "more_body": True})
            await send({"type": "http.response.body", "body": b"'s own"})
        if self.error is not None:
            raise self.error


async def test_the_hosts_500_gives_way_to_a_problem() -> None:
    reply = await get(Shell(Host(PoolTimeout(), statuses=(500,))), headers=[TRACEPARENT])

    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert "x-host" not in reply.headers
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.json() == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "instance": "4bf92f3577b34da6a3ce929d0e0e4736",
    }


@pytest.mark.parametrize("failure", [JobsUnavailable("at host q-7"), DatabaseUnavailable("at host db-7")])
@pytest.mark.parametrize("statuses", [(500,), ()])
async def test_of_several_layers_the_outermost_answers_and_once(
    failure: Exception, statuses: tuple[int, ...]
) -> None:
    replies: list[int] = []

    class Counts(Shell):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def count(message: Any) -> None:
                if message["type"] == "http.response.start":
                    replies.append(message["status"])
                await send(message)

            await super().__call__(scope, receive, count)

    reply = await get(Shell(Counts(Host(failure, statuses=statuses, error=failure))))

    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert replies == list(statuses), "the inner layer passed on what the host said"


async def test_the_outage_itself_does_not_reach_the_server() -> None:
    failure = DatabaseUnavailable("at host db-7")

    for statuses in ((500,), ()):
        reply = await get(Shell(Host(failure, statuses=statuses, error=failure)))

        assert reply.status == 503
        assert b"db-7" not in reply.body


async def test_a_statement_that_ran_too_long_is_a_gateway_timeout() -> None:
    reply = await get(Shell(Host(QueryTimeout(), statuses=(500,))))

    assert (reply.status, reply.json()["title"]) == (504, "Gateway Timeout")
    assert "retry-after" not in reply.headers


@pytest.mark.parametrize("status", [200, 404, 502, 503])
async def test_any_other_status_is_the_handlers_own_word(status: int) -> None:
    reply = await get(Shell(Host(DatabaseUnavailable(), statuses=(status,))))

    assert (reply.status, reply.body, reply.headers["x-host"]) == (status, b"host's own", "yes")


async def test_without_an_outage_a_500_is_the_hosts() -> None:
    reply = await get(Shell(Host(statuses=(500,))))

    assert (reply.status, reply.body) == (500, b"host's own")


async def test_without_an_outage_an_error_flies() -> None:
    with pytest.raises(LookupError):
        await get(Shell(Host(error=LookupError())))


async def test_an_error_of_another_cause_flies_once_the_client_is_answered() -> None:
    exchange = Exchange()

    with pytest.raises(LookupError):
        await Shell(Host(PoolTimeout(), error=LookupError()))(http_scope(), exchange.receive, exchange.send)

    assert exchange.status == 503


async def test_an_error_after_the_response_began_flies_and_sends_nothing() -> None:
    exchange = Exchange()
    failure = DatabaseUnavailable()

    with pytest.raises(DatabaseUnavailable):
        await Shell(Host(failure, statuses=(200,), error=failure))(
            http_scope(), exchange.receive, exchange.send
        )

    assert (exchange.status, exchange.body) == (200, b"host's own")


async def test_a_stream_that_breaks_off_is_not_patched_up() -> None:
    failure = DatabaseUnavailable()
    exchange = Exchange()

    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        scope["sipup"].failure = failure
        await send({"type": "http.response.body", "body": b"par", "more_body": True})
        raise failure

    with pytest.raises(DatabaseUnavailable):
        await Shell(streams)(http_scope(), exchange.receive, exchange.send)

    assert (exchange.status, exchange.body) == (500, b"par")


def wrapped(failure: Exception, how: str) -> Exception:
    if how == "group":
        return ExceptionGroup("tasks", [failure, ExceptionGroup("inner", [failure])])
    error = RuntimeError("the framework's")
    setattr(error, how, failure)
    return error


@pytest.mark.parametrize("how", ["group", "__cause__", "__context__"])
async def test_an_outage_is_known_however_the_framework_wraps_it(how: str) -> None:
    failure = DatabaseUnavailable()

    reply = await get(Shell(Host(failure, error=wrapped(failure, how))))

    assert reply.status == 503


async def test_a_group_that_holds_another_error_flies() -> None:
    failure = DatabaseUnavailable()
    exchange = Exchange()
    error = ExceptionGroup("tasks", [failure, LookupError()])

    with pytest.raises(ExceptionGroup):
        await Shell(Host(failure, error=error))(http_scope(), exchange.receive, exchange.send)

    assert exchange.status == 503


async def test_the_answer_to_head_has_no_body() -> None:
    reply: Any = await get(Shell(Host(PoolTimeout(), statuses=(500,))), method="HEAD")

    assert (reply.status, reply.body) == (503, b"")
    assert int(reply.headers["content-length"]) > 0


class Settling:
    """An app whose answer waits for *error*, or for nothing, before it starts."""

    def __init__(self, error: Exception | None = None, *, then: int | None = None) -> None:
        self.error, self.then = error, then
        self.asked: list[int] = []

    async def settle(self, status: int) -> None:
        self.asked.append(status)
        if self.error is not None:
            raise self.error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["sipup"].before_answer = self.settle
        try:
            await answered(201, send)
        except Exception:
            if self.then is None:
                raise
            await answered(self.then, send)


async def answered(status: int, send: Send) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"host's own"})


async def test_what_has_the_first_word_is_asked_once_with_the_status() -> None:
    app = Settling()

    reply = await get(Shell(app))

    assert (reply.status, reply.body, app.asked) == (201, b"host's own", [201])


@pytest.mark.parametrize(
    ("error", "status", "flies"),
    [
        (DatabaseUnavailable("at host db-7"), 503, False),
        (QueryTimeout(), 504, False),
        (OutcomeUnknown("at host db-7"), 500, True),
        (KeyError("secret"), 500, True),
    ],
)
async def test_where_it_fails_nothing_of_the_answer_is_sent(
    error: Exception, status: int, *, flies: bool
) -> None:
    exchange = Exchange()

    with pytest.raises(type(error)) if flies else nullcontext():
        await Shell(Settling(error))(http_scope(), exchange.receive, exchange.send)

    assert exchange.status == status
    assert exchange.finished.is_set()
    for secret in (b"host", b"secret"):
        assert secret not in exchange.body


@pytest.mark.parametrize(("then", "sent"), [(409, 409), (500, 500), (200, 200)])
async def test_what_the_app_then_says_instead_is_sent_but_for_the_hosts_page(then: int, sent: int) -> None:
    app = Settling(KeyError("taken"), then=then)

    reply = await get(Shell(app))

    assert (reply.status, app.asked) == (sent, [201])
    assert (reply.body == b"host's own") is (then != 500)


async def test_a_client_that_left_is_answered_for_and_nobody_hears_of_it() -> None:
    reply = await get(Shell(Host(gone := ClientDisconnected(), error=gone)))

    assert reply.status == 499


async def test_a_client_that_left_a_stream_is_no_error_either() -> None:
    exchange = Exchange()
    gone = ClientDisconnected()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        scope["sipup"].failure = gone
        raise RuntimeError from gone

    await Shell(app)(http_scope(), exchange.receive, exchange.send)

    assert len(exchange.sent) == 1
