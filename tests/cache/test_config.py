from __future__ import annotations

import pickle
from typing import Any

import pytest

from sipup_middleware.cache import ResponseCache, Rule
from sipup_middleware.errors import ConfigurationError
from sipup_middleware.store import Store
from sipup_middleware.telemetry import Telemetry
from tests.cache.apps import Scripted


@pytest.mark.parametrize(
    "options",
    [
        {"rules": ("/products",)},
        {"rules": "/products"},
        {"allowed_hosts": "example.com"},
        {"allowed_hosts": ("",)},
        {"max_entry": 0},
        {"max_variants": 0},
        {"name": "two words"},
        {"target": "two words"},
        {"vary_key": "tenant"},
        {"stale_if_error": -1},
        {"stale_if_error": float("inf")},
        {"heuristic": 1.1},
        {"sample": -0.1},
        {"mode": "off"},
    ],
)
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ResponseCache(**options)


def test_a_cache_is_a_value() -> None:
    rules = [Rule("/", ttl=1)]
    cache = ResponseCache(rules=rules)

    rules.clear()

    assert cache == ResponseCache(rules=(Rule("/", ttl=1),))
    assert repr(cache).startswith("ResponseCache(store=Store(")
    assert pickle.loads(pickle.dumps(cache)) == cache


def test_the_password_of_the_store_is_not_shown() -> None:
    assert "secret" not in repr(ResponseCache(store=Store("redis://user:secret@host")))


def test_what_it_counts_is_there_before_the_first_request() -> None:
    telemetry = Telemetry()

    ResponseCache()(Scripted(), telemetry=telemetry)

    assert {labels["outcome"] for labels, _ in telemetry.counters("cache.requests")} == {
        "bypass",
        "hit",
        "miss",
        "revalidated",
        "stale",
    }
    assert [value for _, value in telemetry.gauges("cache.entries")] == [0]


async def test_opening_the_layer_opens_its_store() -> None:
    cache = ResponseCache()

    async with cache.open() as store:
        assert cache.store.handle() is store
