"""One context a request, made by the outermost layer, in one copy of the scope."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from sipup_middleware import ConfigurationError
from sipup_middleware.context import Context, current, enter
from tests.asgi import Exchange, get, hello, http_scope

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Within:
    """A layer's shell: enters where it is outermost, then shows the scope it works with."""

    def __init__(self, app: ASGIApp, scopes: list[Scope]) -> None:
        self.app, self.scopes = app, scopes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "sipup" not in scope:
            return await enter(self, scope, receive, send)
        self.scopes.append(scope)
        return await self.app(scope, receive, send)


def context(*headers: tuple[str, str]) -> Context:
    return Context(http_scope(headers=headers))


async def test_layers_share_one_copy_of_the_scope() -> None:
    scopes: list[Scope] = []

    await get(Within(Within(Within(hello, scopes), scopes), scopes))

    assert len(scopes) == 3
    assert scopes[0] is scopes[1] is scopes[2]
    assert scopes[0]["sipup"] is scopes[0]["state"]["sipup"]


async def test_what_the_server_handed_in_stays_as_it_was() -> None:
    state: dict[str, Any] = {"pool": 1}
    scope = http_scope(state=state, extensions={"tls": {}})
    before = {**scope}
    scopes: list[Scope] = []
    exchange = Exchange()

    await Within(hello, scopes)(scope, exchange.receive, exchange.send)

    assert scope == before
    assert state == {"pool": 1}
    assert scopes[0]["state"].keys() == {"pool", "sipup"}
    assert scopes[0]["extensions"] == {"tls": {}}


@pytest.mark.parametrize("absent", [{}, {"state": None, "extensions": None}])
async def test_state_and_extensions_are_there_whatever_the_server_offers(absent: dict[str, Any]) -> None:
    scopes: list[Scope] = []

    await get(Within(hello, scopes), **absent)

    assert scopes[0]["state"].keys() == {"sipup"}
    assert scopes[0]["extensions"] == {}


async def test_current_is_the_context_of_the_request_being_served() -> None:
    seen: list[tuple[Context, Context]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append((current(), scope["sipup"]))
        await hello(scope, receive, send)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(get, Within(app, []))

    assert all(mine is given for mine, given in seen)
    assert len({id(mine) for mine, _ in seen}) == 3


async def test_current_outside_a_request_says_why_it_has_none() -> None:
    with pytest.raises(ConfigurationError, match="no request is being served"):
        current()

    with pytest.raises(NotImplementedError):
        await Within(hello, [])({**http_scope(), "type": "strange"}, Exchange().receive, Exchange().send)
    with pytest.raises(ConfigurationError):
        current()


@pytest.mark.parametrize(
    ("attribute", "layer"),
    [
        ("db", "Database"),
        ("jobs", "Jobs"),
        ("limits", "RateLimit"),
        ("response", "ResponseCache"),
        ("store", "ResponseCache"),
    ],
)
def test_an_attribute_of_a_missing_layer_names_the_layer(attribute: str, layer: str) -> None:
    with pytest.raises(AttributeError, match=f"no {layer} layer wraps this app.*'{attribute}'"):
        getattr(context(), attribute)


def test_a_misspelt_attribute_is_refused() -> None:
    with pytest.raises(AttributeError, match="databse"):
        getattr(context(), "databse")  # noqa: B009 (mypy would refuse the attribute itself)
    with pytest.raises(AttributeError):
        setattr(context(), "databse", None)  # noqa: B010 (see above)


def test_nobody_collects_tags_and_nothing_has_failed_until_a_layer_says_so() -> None:
    assert (context().tags, context().failure) == (None, None)


@pytest.mark.parametrize("version", ["00", "01"])
def test_the_request_id_is_the_trace_id(version: str) -> None:
    assert context(("traceparent", f"{version}-{TRACE}-00f067aa0ba902b7-01")).request_id == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7",
        f"00-{TRACE}-00f067aa0ba902b7-01\n",
        f'00-{TRACE[:-1]}"-00f067aa0ba902b7-01',
        "x" * 100_000,
    ],
)
def test_a_traceparent_that_is_not_one_gives_no_id(traceparent: str) -> None:
    made = context(("traceparent", traceparent)).request_id

    assert made not in {TRACE, "0" * 32}
    assert len(made) == 32
    assert set(made) <= set("0123456789abcdef")


def test_a_request_keeps_its_id_and_shares_it_with_no_other() -> None:
    one, other = context(), context()

    assert one.request_id == one.request_id
    assert one.request_id != other.request_id
