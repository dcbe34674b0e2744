"""Every host writes its route down somewhere else; what stands here was read off real ones."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from quart import Blueprint, Quart
from quart import request as quart_request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from sipup_middleware.telemetry.routes import UNMATCHED, template
from tests.asgi import get, hello


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("page")


def starlette() -> ASGIApp:
    return Starlette(
        routes=[
            Route("/", page),
            Route("/items/{id:int}", page),
            Mount("/shops/{shop}", routes=[Mount("/{shelf}", routes=[Route("/books/{book}", page)])]),
            Mount("/files/{rest:path}/in", routes=[Route("/{name}", page)]),
            Mount("/static", app=hello),
        ]
    )


def fastapi() -> ASGIApp:
    async def read() -> str:
        return "read"

    deep, shallow = APIRouter(), APIRouter()
    deep.add_api_route("/deep/{n}", read)
    shallow.include_router(deep, prefix="/in")
    shallow.add_api_route("/items/{id}", read)
    inside = FastAPI()
    inside.add_api_route("/pages/{number}", read)
    app = FastAPI()
    app.root_path = "/behind"  # which it writes over the scope's
    app.include_router(shallow, prefix="/api")
    app.add_api_route("/flat/{x}", read)
    app.mount("/tenants/{tenant}", inside)
    return app


async def tell_quarts_route() -> None:
    """The hook that its documentation gives: what Quart has matched is known only inside it."""
    scope: Any = quart_request.scope  # typed by its server, as a dict of no other keys
    scope["path_template"] = quart_request.url_rule and quart_request.url_rule.rule


def quart() -> Any:  # its types know their server's scopes alone
    async def read(number: int = 0) -> str:
        return "read"

    inside = Blueprint("inside", __name__, url_prefix="/shops/<shop>")
    inside.get("/books/<book>")(lambda shop, book: "book")
    app = Quart(__name__)
    app.get("/")(read)
    app.get("/items/<int:number>", endpoint="item")(read)
    app.register_blueprint(inside)
    return app


async def label(app: ASGIApp, path: str, **scope: Any) -> str:
    seen = []

    async def shell(scope: Any, receive: Any, send: Any) -> None:
        before = scope["root_path"]
        await app(scope, receive, send)
        seen.append(template(scope, before))

    await get(shell, path, **scope)
    return seen[0]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/items/7", "/items/{id}"),
        ("/items/seven", UNMATCHED),
        ("/shops/7/3/books/3", "/shops/{shop}/{shelf}/books/{book}"),
        ("/shops/books/shops/books/x", "/shops/{shop}/{shelf}/books/{book}"),
        ("/shops/7/3/nothing", "/shops/{shop}/{shelf}/{path}"),
        ("/shops/7/nothing", "/shops/{shop}/{path}"),
        ("/files/a/b/c/in/name", "/files/{rest}/in/{name}"),
        ("/static/a.css", "/static/{path}"),
        ("/nothing", UNMATCHED),
    ],
)
@pytest.mark.parametrize("root", ["", "/v1"])
async def test_starlette(path: str, expected: str, root: str) -> None:
    assert await label(starlette(), root + path, root_path=root) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/flat/1", "/flat/{x}"),
        ("/api/items/3", "/api/items/{id}"),
        ("/api/in/deep/4", "/api/in/deep/{n}"),
        ("/api/nothing", UNMATCHED),
        ("/tenants/acme/pages/1", "/tenants/{tenant}/pages/{number}"),
        ("/tenants/acme/nothing", "/tenants/{tenant}/{path}"),
        ("/nothing", UNMATCHED),
    ],
)
async def test_fastapi(path: str, expected: str) -> None:
    assert await label(fastapi(), f"/behind{path}") == expected


async def test_a_stack_inside_a_mount_tells_what_is_inside() -> None:
    assert await label(starlette(), "/outer/7/items/3", root_path="/outer/7", app_root_path="") == (
        "/items/{id}"
    )


async def test_a_bare_callable_tells_nothing() -> None:
    assert await label(hello, "/secret/path") == UNMATCHED


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"path_template": "/orders/{order_id:int}"}, "/orders/{order_id:int}"),
        ({"path_template": ""}, UNMATCHED),
        (
            {"extensions": {"connexion_routing": {"api_base_path": "/api", "operation_id": "pets.get"}}},
            "/api#pets.get",
        ),
        ({"extensions": {"connexion_routing": {"api_base_path": "", "operation_id": None}}}, UNMATCHED),
        ({"extensions": None}, UNMATCHED),
        ({"route": object()}, UNMATCHED),
    ],
)
def test_other_hosts(scope: dict[str, Any], expected: str) -> None:
    assert template(scope, "") == expected


def test_a_mount_whose_parameters_cannot_be_put_back_is_unmatched() -> None:
    route = Route("/x", page)
    scope = {
        "route": route,
        "root_path": "/shops/007",
        "app_root_path": "",
        "path_params": {"shop": 7},
    }

    assert template(scope, "") == UNMATCHED


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/items/7", "/items/<int:number>"),
        ("/items/seven", UNMATCHED),
        ("/shops/7/books/3", "/shops/<shop>/books/<book>"),
        ("/nothing", UNMATCHED),
    ],
)
@pytest.mark.parametrize("root", ["", "/v1"])
async def test_quart_with_a_hook(path: str, expected: str, root: str) -> None:
    app = quart()
    app.before_request(tell_quarts_route)

    assert await label(app, root + path, root_path=root) == expected


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_quart_without_it_tells_nothing() -> None:
    assert await label(quart(), "/items/7") == UNMATCHED
