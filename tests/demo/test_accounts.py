"""Logging in: whose key comes back, that it opens what it should, and how little a refusal tells."""

from __future__ import annotations

import re

import pytest

from demo_app.keys import DEFAULT_KEY, ApiKey
from sipup_middleware.database import Facade
from tests.demo.conftest import Client, faults, key_of


async def email_of(db: Facade, buyer: int) -> str:
    return str(await db.fetchval("SELECT email FROM buyers WHERE id = $1", buyer))


async def test_a_buyer_gets_the_key_that_it_buys_with(shop: Client, db: Facade) -> None:
    reply = await shop.post("/login", {"email": await email_of(db, 77), "password": "demo"})

    given = reply.json()
    buyer = await db.fetchrow("SELECT id, company, country FROM buyers WHERE id = 77")
    assert buyer is not None
    assert reply.status == 200
    assert reply.headers["cache-control"] == "no-store"
    assert given["buyer"] == dict(buyer)
    assert re.fullmatch(r"buyer-77-[0-9a-f]{32}", given["api_key"])
    assert (await shop.get("/me/orders", **{"x-api-key": given["api_key"]})).status == 200


async def test_an_e_mail_address_is_known_however_it_is_written(shop: Client, db: Facade) -> None:
    email = f"  {(await email_of(db, 78)).upper()} "

    assert (await shop.post("/login", {"email": email, "password": "demo"})).json()["buyer"]["id"] == 78


async def test_a_wrong_password_and_an_unknown_address_are_refused_alike(shop: Client, db: Facade) -> None:
    known, unknown = await email_of(db, 79), "purchasing@nobody-0.example"
    wrong = [(known, "Demo"), (known, "demo "), (unknown, "demo"), (unknown, "wrong")]

    replies = [await shop.post("/login", {"email": email, "password": given}) for email, given in wrong]

    assert {reply.status for reply in replies} == {401}
    assert len({tuple(faults(reply).items()) for reply in replies}) == 1
    assert all("www-authenticate" in reply.headers for reply in replies)


async def test_the_demo_may_have_a_password_of_its_own(
    monkeypatch: pytest.MonkeyPatch, shop: Client, db: Facade
) -> None:
    monkeypatch.setenv("DEMO_PASSWORD", "pa55")
    keys = ApiKey.from_environ()

    assert keys.is_password("pa55")
    assert not keys.is_password("demo")


BODIES: list[tuple[object, int, set[str]]] = [
    (b"", 400, {"body"}),
    ("demo", 400, {"body"}),
    ({}, 400, {"email", "password"}),
    ({"email": 1, "password": None}, 400, {"email", "password"}),
    ({"email": " ", "password": "x" * 201}, 400, {"email", "password"}),
    ({"email": "a\0b", "password": "demo", "remember": True}, 400, {"email", "remember"}),
    (b'{"email": "a", "password": "b"}' + b" " * 1024, 413, {"body"}),
]


async def test_a_login_is_refused_by_field(shop: Client) -> None:
    replies = [await shop.post("/login", body) for body, _, _ in BODIES]
    media = await shop.post("/login", {}, media="application/x-www-form-urlencoded")

    assert [(reply.status, set(faults(reply))) for reply in replies] == [each[1:] for each in BODIES]
    assert (media.status, set(faults(media))) == (415, {"Content-Type"})


async def test_a_buyer_s_key_does_not_set_prices(shop: Client) -> None:
    reply = await shop.put_price(41, {"price": "1.00"}, key=key_of(80))

    assert (reply.status, list(faults(reply))) == (403, ["X-API-Key"])


async def test_a_key_is_good_wherever_the_secret_is_the_same_and_nowhere_else() -> None:
    one, same, other = (ApiKey(DEFAULT_KEY, secret=secret) for secret in ("a", "a", "b"))

    assert one.of_buyer(7) == same.of_buyer(7) != other.of_buyer(7)
    assert len({one.of_buyer(buyer) for buyer in range(1, 100)}) == 99


async def test_without_a_secret_each_process_has_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEMO_SECRET")

    assert ApiKey.from_environ().of_buyer(7) != ApiKey.from_environ().of_buyer(7)


async def test_a_key_of_ones_own_and_the_secrets_are_not_shown() -> None:
    keys = ApiKey("s3cret-key", secret="s3cret", password="s3cret-password")

    assert keys.shown == "$DEMO_API_KEY"
    assert "s3cret" not in repr(keys)
