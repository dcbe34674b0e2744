"""Details are for this machine, for who holds the token, and for who a function lets in; for nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from sipup_middleware.health.access import Access, is_local
from tests.asgi import http_scope


@pytest.mark.parametrize(
    ("client", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("testclient", False),
        ("", False),
        (None, False),
    ],
)
def test_a_loopback_peer_is_local(client: str | None, local: bool) -> None:  # noqa: FBT001 (a column of the table)
    assert is_local(http_scope(client=client)) is local


@pytest.mark.parametrize(
    "name", ["Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"]
)
def test_a_peer_that_forwards_for_another_is_not_local(name: str) -> None:
    assert not is_local(http_scope(client="127.0.0.1", headers=[(name, "127.0.0.1")]))


@pytest.mark.parametrize(
    ("authorization", "allowed"),
    [
        ("Bearer hunter2", True),
        ("bearer  hunter2", True),
        ("Bearer hunter", False),
        ("Bearer hunter22", False),
        ("Basic hunter2", False),
        ("Bearer", False),
        ("", False),
    ],
)
def test_the_token_opens(authorization: str, allowed: bool) -> None:  # noqa: FBT001 (a column of the table)
    access = Access(rule="local", token="hunter2")

    assert access.allows(http_scope(headers=[("Authorization", authorization)])) is allowed


def test_without_a_token_no_authorization_opens() -> None:
    assert not Access(rule="local", token=None).allows(http_scope(headers=[("Authorization", "Bearer ")]))


@pytest.mark.parametrize(("answer", "allowed"), [(True, True), (False, False), ("yes", False), (None, False)])
def test_of_a_function_only_true_opens(answer: Any, allowed: bool) -> None:  # noqa: FBT001 (a column of the table)
    access = Access(rule=lambda scope: answer, token=None)

    assert access.allows(http_scope(client="127.0.0.1")) is allowed


def test_the_token_opens_where_the_function_does_not() -> None:
    access = Access(rule=lambda scope: False, token="hunter2")

    assert access.allows(http_scope(headers=[("Authorization", "Bearer hunter2")]))
