"""RFC 9211: Cache-Status is a list of structured fields, and says what happened."""

from __future__ import annotations

from typing import Any

import http_sf
import pytest

from tests.cache.proxied.cases import ETAG, FRESH, Case, Proxied, confirmed, goes, held, honored, says

SWR = "Cache-Control: max-age=60, stale-while-revalidate=30"
UNCHANGED = says(FRESH, ETAG, status=304)
NOTHING = goes(says("Cache-Control: no-store"))

TOLD: list[tuple[Case, dict[str, Any]]] = [
    (Case("2.2 nothing stored, and stored now", (goes(says(FRESH)),)), {"fwd": "uri-miss", "stored": True}),
    (Case("2.2 nothing stored, and not now", (NOTHING,)), {"fwd": "uri-miss", "detail": "no-store"}),
    (Case("2.1 a hit", (goes(says(FRESH)), held(later=20))), {"hit": True, "ttl": 40}),
    (Case("2.1 a hit is of no age", (goes(says(FRESH)), held())), {"hit": True, "ttl": 60}),
    (
        Case("2.1 a 304 of the cache's", (goes(says(FRESH, ETAG)), held('If-None-Match: "a"', status=304))),
        {"hit": True, "ttl": 60},
    ),
    (Case("2.1 HEAD", (goes(says(FRESH)), held(method="HEAD"))), {"hit": True, "ttl": 60}),
    (Case("2.4 stale", (goes(says(SWR)), held(later=70, behind=says(FRESH)))), {"hit": True, "ttl": -10}),
    (
        Case("2.3 confirmed", (goes(says(FRESH, ETAG)), confirmed(UNCHANGED, later=61))),
        {"fwd": "stale", "fwd-status": 304, "stored": True, "ttl": 60},
    ),
    (
        Case("2.2 stale, and another answer", (goes(says(FRESH)), goes(says(FRESH), later=61))),
        {"fwd": "stale", "stored": True},
    ),
    (
        Case(
            "2.2 another variant",
            (goes(says(FRESH, "Vary: X-A"), "X-A: 1"), goes(says(FRESH, "Vary: X-A"), "X-A: 2")),
        ),
        {"fwd": "vary-miss", "stored": True},
    ),
    (Case("2.2 another method", (goes(says(), method="DELETE"),)), {"fwd": "method"}),
    (
        Case("2.2 what is not asked of a cache", (goes(says(), 'If-Match: "a"'),)),
        {"fwd": "bypass", "detail": "precondition"},
    ),
    (
        honored("2.2 by request", goes(says(FRESH, ETAG)), confirmed(UNCHANGED, "Cache-Control: no-cache")),
        {"fwd": "request", "fwd-status": 304, "stored": True, "ttl": 60},
    ),
]


@pytest.mark.parametrize(
    ("case", "parameters"), TOLD, ids=lambda each: str(each) if isinstance(each, Case) else ""
)
def test_9211_2(case: Case, parameters: dict[str, Any], proxied: Proxied) -> None:
    got = proxied.run(case)

    ((cache, told),) = members(got.field("cache-status"))
    assert (
        str(cache),
        {name: str(value) if isinstance(value, http_sf.Token) else value for name, value in told.items()},
    ) == ("sipup", parameters)


def test_9211_2_what_stood_there_before_stays_first(proxied: Proxied) -> None:
    upstream = says(FRESH, 'Cache-Status: "origin:1"; hit', "Cache-Status: edge; fwd=stale")

    for case in (Case("miss", (goes(upstream),)), Case("hit", (goes(upstream), held()))):
        got = proxied.run(case)

        assert [str(cache) for cache, _ in members(got.field("cache-status"))] == [
            "origin:1",
            "edge",
            "sipup",
        ]


def members(field: str | None) -> Any:
    assert field is not None
    return http_sf.parse(field.encode(), tltype="list")
