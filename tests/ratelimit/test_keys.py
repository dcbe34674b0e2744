from __future__ import annotations

from typing import Any

import pytest

from sipup_middleware import ClientIP, Limit, RateLimit, by_header, by_ip, by_user
from sipup_middleware.ratelimit.keys import credential
from sipup_middleware.telemetry import WarningRaised
from tests.asgi import get, hello, http_scope
from tests.ratelimit.doubles import wrap


def who(*headers: tuple[str, str], cookie: bytes | None = None) -> str | None:
    return credential(http_scope(headers=headers), cookie)


def test_a_credential_tells_users_apart_and_is_never_kept_raw() -> None:
    alice, bob = who(("Authorization", "Bearer alice")), who(("Authorization", "Bearer bob"))

    assert alice
    assert alice != bob
    assert "alice" not in alice
    assert who() is None
    assert who(("Authorization", ""), ("X-API-Key", "")) is None


def test_a_scheme_in_other_letters_is_no_other_user() -> None:
    written = ["Bearer t0ken", "bearer t0ken", "BEARER  t0ken ", "Token t0ken"]

    assert len({who(("Authorization", each)) for each in written}) == 1


def test_authorization_comes_before_the_api_key_and_that_before_the_session() -> None:
    headers = [("Cookie", "a=1; session=s3; b=2"), ("X-API-Key", "k3y"), ("Authorization", "Bearer t0ken")]

    assert who(*headers, cookie=b"session=") == who(headers[2])
    assert who(*headers[:2], cookie=b"session=") == who(headers[1])
    assert who(headers[0], cookie=b"session=") == who(("cookie", "session=s3"), cookie=b"session=")
    assert who(headers[0]) is None
    assert who(("Cookie", "xsession=s3"), cookie=b"session=") is None


async def test_keys_may_be_built_from_ours() -> None:
    def by_both(scope: Any) -> str | None:
        user = by_user(scope)
        return user and f"{by_ip(scope)} {user}"

    seen: list[str | None] = []
    wrapped = wrap(
        hello,
        Limit("5/minute", key=lambda scope: seen.append(by_both(scope)), name="both"),
        client_ip=ClientIP(trusted=("10.0.0.0/8",)),
        user=lambda scope: "alice",
    )

    await get(wrapped.app, client="10.0.0.1", headers=[("X-Forwarded-For", "203.0.113.9")])

    assert seen == ["203.0.113.9 alice"]


def test_outside_a_layer_keys_know_no_proxies() -> None:
    scope = http_scope(client="192.0.2.7", headers=[("X-API-Key", "k3y")])

    assert by_ip(scope) == "192.0.2.7"
    assert by_user(scope) == who(("X-API-Key", "k3y"))


def test_a_header_is_a_key() -> None:
    key = by_header("X-Tenant")

    assert key(http_scope(headers=[("x-tenant", "acme")])) == "acme"
    assert key(http_scope(headers=[("x-tenant", "\xff")])) == "\xff"
    assert key(http_scope(headers=[("x-tenant", "")])) is None
    assert key(http_scope()) is None
    assert by_header("x-tenant") == key


async def test_requests_without_an_address_share_a_limit_and_warn_once() -> None:
    wrapped = wrap(hello, Limit("2/minute", key=by_ip))

    replies = [await get(wrapped.app, client=None) for _ in range(3)]

    assert [reply.status for reply in replies] == [200, 200, 429]
    assert len([fact for fact in wrapped.facts if isinstance(fact, WarningRaised)]) == 1


@pytest.mark.parametrize(
    ("key", "name"), [(by_ip, "ip"), (by_user, "user"), (by_header("x-tenant"), "header")]
)
def test_a_limit_is_called_like_its_key(key: Any, name: str) -> None:
    assert RateLimit(limits=[Limit("1/second", key=key)]).limits[0].name == name


async def test_an_ipv6_address_is_counted_by_its_network() -> None:
    wrapped = wrap(hello, Limit("1/minute", key=by_ip))

    replies = [
        await get(wrapped.app, client=client) for client in ("2001:db8::1", "2001:db8:0:ff::2", "2001:db9::1")
    ]

    assert [reply.status for reply in replies] == [200, 429, 200]
