"""RFC 9111, section 4: many who ask for the same at once get one answer, if it may be shared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.cache.proxied.cases import ETAG, FRESH, Proxied, says, until
from tests.cache.proxied.client import Got, fetch
from tests.cache.proxied.origin import Reply

CROWD = 8
URLS = (f"/crowd/{number}" for number in count())
SWR = "Cache-Control: max-age=60, stale-while-revalidate=600"


@pytest.fixture
def path(proxied: Proxied) -> str:
    proxied.origin.count = 0
    proxied.origin.seen.clear()
    return next(URLS)


def crowd(proxied: Proxied, path: str, reply: Reply, *, asked: int) -> list[Got]:
    """Let all ask while the origin holds its answers back until it was *asked* as often as it must be."""
    origin = proxied.origin
    origin.reply = reply
    origin.lets.clear()
    with ThreadPoolExecutor(CROWD) as pool:
        try:
            asking = [pool.submit(fetch, proxied.port, "GET", path, (f"X-A: {n}",)) for n in range(CROWD)]
            until(lambda: len(origin.seen) >= asked)
        finally:
            origin.lets.set()
        return [each.result() for each in asking]


def bodies(crowd: list[Got]) -> list[bytes]:
    return sorted(got.body for got in crowd)


def test_9111_4_one_asks_for_all(proxied: Proxied, path: str) -> None:
    got = crowd(proxied, path, says(FRESH), asked=1)

    assert bodies(got) == [b"1"] * CROWD


@pytest.mark.parametrize("line", ["no-store", "private, max-age=60", "no-cache"])
def test_9111_4_what_is_not_shared_is_each_one_s_own(line: str, proxied: Proxied, path: str) -> None:
    got = crowd(proxied, path, says(f"Cache-Control: {line}"), asked=1)

    assert bodies(got) == sorted(b"%d" % number for number in range(1, CROWD + 1))


def test_9111_4_1_each_variant_is_asked_for(proxied: Proxied, path: str) -> None:
    got = crowd(proxied, path, says(FRESH, "Vary: X-A"), asked=1)

    assert bodies(got) == sorted(b"%d" % number for number in range(1, CROWD + 1))


def test_9111_4_3_one_confirmation_is_for_all(proxied: Proxied, path: str) -> None:
    crowd(proxied, path, says(FRESH, ETAG), asked=1)
    proxied.clock.now += 61
    proxied.origin.seen.clear()

    got = crowd(proxied, path, says(FRESH, ETAG, status=304), asked=1)

    assert bodies(got) == [b"1"] * CROWD
    assert len(proxied.origin.seen) == 1


def test_9111_4_2_4_an_error_is_kept_from_all(proxied: Proxied, path: str) -> None:
    crowd(proxied, path, says(FRESH, ETAG), asked=1)
    proxied.clock.now += 61
    proxied.origin.seen.clear()

    got = crowd(proxied, path, says(status=503), asked=1)

    assert {(each.status, each.body) for each in got} == {(200, b"1")}


def test_5861_3_all_get_what_is_stale_at_once_and_it_is_made_anew_once(proxied: Proxied, path: str) -> None:
    crowd(proxied, path, says(SWR), asked=1)
    proxied.clock.now += 61
    proxied.origin.seen.clear()
    proxied.origin.reply = says(FRESH)
    proxied.origin.lets.clear()

    try:
        got = [fetch(proxied.port, "GET", path) for _ in range(CROWD)]
    finally:
        proxied.origin.lets.set()
    until(lambda: fetch(proxied.port, "GET", path).body == b"2")

    assert bodies(got) == [b"1"] * CROWD
    assert len(proxied.origin.seen) == 1
