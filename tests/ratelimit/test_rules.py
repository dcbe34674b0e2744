"""Which limits a request meets, and what is kept of the combinations that occur."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Scope

from sipup_middleware.ratelimit.rules import KeyedRule, RuleTable, Selection, is_preflight
from tests.asgi import http_scope
from tests.ratelimit.doubles import rule


def alice(_: Scope) -> str:
    return "alice"


def nobody(_: Scope) -> None:
    return None


def keyed(name: str, *, index: int = 0, **options: Any) -> KeyedRule:
    return KeyedRule(rule=rule((5, 60), name=name, index=index), **{"key": alice, **options})


def names(table: RuleTable, **scope: Any) -> list[str] | None:
    selection = table.select(http_scope(**scope))
    return None if selection is None else [each.name for each, _ in selection.ask(http_scope(**scope))]


TABLE = RuleTable(
    [
        keyed("all"),
        keyed("login", paths=["/login"], methods=["POST"]),
        keyed("item", paths=["/items/{id}", "/items/{id}/photo"]),
        keyed("write", methods=["POST", "PUT"]),
        keyed("nobody", key=nobody),
    ],
    ["/_health"],
)


@pytest.mark.parametrize(
    ("method", "path", "met"),
    [
        ("GET", "/", ["all"]),
        ("GET", "/login", ["all"]),
        ("POST", "/login", ["all", "login", "write"]),
        ("POST", "/login/", ["all", "login", "write"]),
        ("GET", "/items/1", ["all", "item"]),
        ("PUT", "//items//1//photo", ["all", "item", "write"]),
        ("GET", "/items", ["all"]),
        ("PROPFIND", "/items/1", ["all", "item"]),
        ("OPTIONS", "/items/1", ["all", "item"]),
        ("GET", "/_health/live", None),
        ("GET", "/_healthy", ["all"]),
    ],
)
def test_a_request_meets_the_limits_of_its_path_and_method(
    method: str, path: str, met: list[str] | None
) -> None:
    assert names(TABLE, method=method, path=path) == met


def test_a_websocket_is_a_get() -> None:
    table = RuleTable([keyed("read", methods=["GET"]), keyed("write", methods=["POST"])], [])
    scope = {**http_scope(), "type": "websocket"}
    del scope["method"]

    selection = table.select(scope)

    assert selection is not None
    assert [each.name for each, _ in selection.ask(scope)] == ["read"]


def test_a_preflight_meets_none() -> None:
    headers = [("Origin", "https://shop.example"), ("Access-Control-Request-Method", "PUT")]

    assert names(TABLE, method="OPTIONS", path="/items/1", headers=headers) == []
    assert not is_preflight(http_scope(headers=headers[1:]))


def test_requests_alike_share_one_selection() -> None:
    assert TABLE.select(http_scope("/items/1")) is TABLE.select(http_scope("/items/2"))


def test_what_depends_on_the_request_is_asked_of_each() -> None:
    plans = {"/gold": rule((9, 60), name="plan"), "/free": None}
    selection = Selection(
        [
            keyed("all"),
            keyed("plan", rate=lambda scope: plans[scope["path"]]),
            keyed("staff", unless=lambda scope: scope["path"] == "/gold"),
            keyed("nobody", key=nobody, rate=lambda _: pytest.fail("asked for the rate of nobody")),
        ]
    )

    gold, free = (selection.ask(http_scope(path)) for path in ("/gold", "/free"))

    assert selection.policy_of(gold) == b'"all";q=5;w=60, "plan";q=9;w=60'
    assert selection.policy_of(free) == b'"all";q=5;w=60, "staff";q=5;w=60'


def test_policies_of_many_rates_are_right_and_bounded() -> None:
    selection = Selection([keyed("plan", rate=lambda _: None)])

    for amount in range(1, 1000):
        asks = [(rule((amount, 60), name="plan"), "alice")]
        assert selection.policy_of(asks) == b'"plan";q=%d;w=60' % amount

    assert len(selection._policies) <= 256
