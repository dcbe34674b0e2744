"""RFC 9211: Cache-Status, read back with a parser of structured fields (RFC 8941)."""

from __future__ import annotations

from typing import Any

import http_sf
import pytest

from sipup_middleware.cache.status import CacheStatus
from sipup_middleware.errors import ConfigurationError


def test_2_a_hit_tells_its_age_and_what_is_left() -> None:
    assert CacheStatus("sipup").hit(3.9, 56.1) == ((b"age", b"3"), (b"cache-status", b"sipup; hit; ttl=56"))


@pytest.mark.parametrize(
    ("why", "outcome", "field"),
    [
        ("uri-miss", "stored", b"sipup; fwd=uri-miss; stored"),
        ("uri-miss", "collapsed", b"sipup; fwd=uri-miss; collapsed"),
        ("vary-miss", "", b"sipup; fwd=vary-miss"),
        ("bypass", "", b"sipup; fwd=bypass"),
        ("method", "", b"sipup; fwd=method"),
    ],
)
def test_2_2_a_forwarded_request_tells_why(why: str, outcome: str, field: bytes) -> None:
    assert CacheStatus("sipup").forwarded(why, outcome) == ((b"cache-status", field),)


@pytest.mark.parametrize("name", ["sipup", "*cache", "Shop/eu:1"])
def test_2_the_field_is_a_list_of_tokens(name: str) -> None:
    status = CacheStatus(name)

    for fields in (status.hit(0, 5), status.forwarded("uri-miss", "stored")):
        parsed: Any = http_sf.parse(fields[-1][1], tltype="list")
        ((member, parameters),) = parsed
        assert str(member) == name
        assert parameters


def test_without_a_name_only_the_age_is_told() -> None:
    assert CacheStatus(None).hit(3, 5) == ((b"age", b"3"),)
    assert CacheStatus(None).forwarded("bypass") == ()


@pytest.mark.parametrize("name", ["", "1st", "my cache", "a;b", "caf\u00e9", "a\r\nb"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="token"):
        CacheStatus(name)
