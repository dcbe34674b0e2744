"""Each way to name a server leads to a bounded pool; what cannot be read is refused without its secrets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.exceptions import ConnectionError as Unreachable

from sipup_middleware.bridge import here
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.redis_pool import SCHEMES, redis_pool
from sipup_middleware.redis_sentinel import SentinelPool, watched
from sipup_middleware.urls import masked

WATCHED = "redis+sentinel://app:hush@one:26379,two:26380/shop?db=3"


def pool_of(url: str, **options: Any) -> BlockingConnectionPool:
    return redis_pool(url, **{"timeout": 0.3, "option": "RateLimit.storage", "extra": "ratelimit", **options})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_gives_a_bounded_pool_that_has_dialled_nobody(scheme: str) -> None:
    place = "/run/valkey.sock" if scheme == "unix" else "cache:26379/shop"

    pool = pool_of(f"{scheme}://{place}?db=2", connections=5)

    assert isinstance(pool, BlockingConnectionPool)
    assert (pool.max_connections, pool.timeout) == (5, 0.3)
    assert pool.connection_kwargs["db"] == 2


@pytest.mark.parametrize(
    ("place", "sentinels", "service", "options"),
    [
        ("one/shop", [("one", 26379)], "shop", {}),
        ("one:1,two:2,three/shop", [("one", 1), ("two", 2), ("three", 26379)], "shop", {}),
        ("one,[::1]:7/shop?db=3", [("one", 26379), ("::1", 7)], "shop", {"db": 3}),
        ("u:p%40ss@one/a%2Fb", [("one", 26379)], "a/b", {"username": "u", "password": "p@ss"}),
        (":hush@one/shop", [("one", 26379)], "shop", {"password": "hush"}),
        (
            "one/shop?socket_timeout=0.5&sentinel_password=s",
            [("one", 26379)],
            "shop",
            {"socket_timeout": 0.5, "sentinel_password": "s"},
        ),
    ],
)
def test_a_url_of_sentinels_names_them_their_service_and_the_options(
    place: str, sentinels: Any, service: str, options: Any
) -> None:
    assert watched(f"redis+sentinel://{place}") == (sentinels, service, options)


def test_the_login_is_for_the_servers_and_the_sentinels_have_their_own() -> None:
    pool = pool_of(f"{WATCHED}&sentinel_username=watch&sentinel_password=whisper")
    assert isinstance(pool, SentinelPool)

    asked = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]

    assert {name: pool.connection_kwargs.get(name) for name in ("username", "password", "db")} == {
        "username": "app",
        "password": "hush",
        "db": 3,
    }
    assert [(each["host"], each["port"], each["username"], each["password"]) for each in asked] == [
        ("one", 26379, "watch", "whisper"),
        ("two", 26380, "watch", "whisper"),
    ]


def test_sentinels_that_hang_leave_the_others_and_the_master_their_time() -> None:
    pool = pool_of(WATCHED, timeout=0.375)
    assert isinstance(pool, SentinelPool)

    asked = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]

    assert [(each["socket_connect_timeout"], each["socket_timeout"]) for each in asked] == [
        (0.125, 0.125)
    ] * 2


@pytest.mark.parametrize(
    "place",
    [
        "",
        "hush@",
        "one:hush@host",
        "hush@one/",
        "hush@/shop",
        "hush@one,/shop",
        "hush@one:x/shop",
        "hush@one:99999/shop",
        "hush@one/shop/0",
        "hush@one/shop?db=hush",
        "hush@one/shop?nonsense=hush",
    ],
)
def test_a_url_of_sentinels_that_cannot_be_read_is_refused_with_the_form_and_without_its_secrets(
    place: str,
) -> None:
    with pytest.raises(ConfigurationError, match=r"^RateLimit\.storage .*redis\+sentinel://") as raised:
        pool_of(f"redis+sentinel://{place}")

    assert "hush" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_no_secret_of_such_a_url_shows() -> None:
    assert masked(f"{WATCHED}&sentinel_password=hush") == (
        "redis+sentinel://app:***@one:26379,two:26380/shop?db=3&sentinel_password=***"
    )
    assert "hush" not in repr(pool_of(f"{WATCHED}&sentinel_password=hush"))


@dataclass(eq=False)
class Watcher:
    """A sentinel that answers unless it is away, each time after others had their turn."""

    away: bool = False

    async def sentinel_masters(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.away:
            raise Unreachable
        state = {"is_master": True, "is_sdown": False, "is_odown": False, "num-other-sentinels": 2}
        return {"shop": {**state, "ip": "db", "port": 1}}


async def test_sentinels_that_are_asked_by_many_at_once_are_all_kept() -> None:
    pool = pool_of("redis+sentinel://one,two,three/shop")
    assert isinstance(pool, SentinelPool)
    watchers = [Watcher() for _ in range(3)]
    pool.sentinel_manager.sentinels = list(watchers)
    home, told = here(), list[Any]()

    async def ask() -> None:
        told.append(await home.call(pool.get_master_address))

    for answering in watchers:
        for each in watchers:
            each.away = each is not answering
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(ask)

    assert told == [("db", 1)] * 24
    assert all(each in pool.sentinel_manager.sentinels for each in watchers)


async def test_where_no_sentinel_answers_the_server_is_unreachable() -> None:
    pool = pool_of("redis+sentinel://127.0.0.1:1/shop")
    home = here()

    with pytest.raises(Unreachable, match="No master"):
        await home.call(Redis(connection_pool=pool).get, "key")

    await home.call(pool.disconnect)


def test_connections_ask_the_sentinels() -> None:
    assert pool_of(WATCHED).connection_class is SentinelManagedConnection
