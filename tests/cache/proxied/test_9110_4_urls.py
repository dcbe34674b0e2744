"""RFC 9110, sections 4.2 and 7.2, and RFC 9111, section 2: which requests are of the same URL."""

from __future__ import annotations

import pytest

from tests.cache.proxied.cases import FRESH, Case, Proxied, goes, held, says

PAGE = says(FRESH)
APART = (
    ("a", "A"),
    ("a", "a/"),
    ("a", "%61"),
    ("%2f", "/"),
    ("%2f", "%2F"),
    ("a", "a?b"),
    ("?a=1&b=2", "?b=2&a=1"),
    ("?a=1", "?a=1&"),
    ("?a=1", "?a=%31"),
    ("?a=+", "?a=%20"),
    ("?a", "?a="),
    ("a?b", "a%3Fb"),
    ("a", "./a"),
    ("a", "b/../a"),
    ("a", "/a"),
    ("a", "a;x"),
    ("ab?c", "a?bc"),
)
HOSTS = ("Host: other.example", "Host: cache.example.", "Host: cache.example:8080")

CASES = [
    *(
        Case(
            f"4.2 {one} is not {other}",
            (
                goes(PAGE, target=one),
                goes(PAGE, target=other),
                held(target=one),
                held(target=other, body=b"2"),
            ),
        )
        for one, other in APART
    ),
    Case("4.2.3 hosts are the same in any case", (goes(PAGE), held("Host: Cache.EXAMPLE"))),
    *(Case(f"7.2 {line}", (goes(PAGE), goes(PAGE, line), held(), held(line, body=b"2"))) for line in HOSTS),
    Case(
        "2 other fields do not name another URL",
        (
            goes(PAGE),
            held(
                "X-Forwarded-Host: evil",
                "X-Forwarded-Proto: https",
                "Forwarded: host=evil",
                "Origin: http://evil",
                "Referer: http://evil",
            ),
        ),
    ),
    Case("2 the port of the client does not matter", (goes(PAGE), held(), held())),
    Case(
        "2 a long URL is passed on",
        (goes(PAGE, target="?" + "x" * 5000), goes(PAGE, target="?" + "x" * 5000)),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_9110_4(case: Case, proxied: Proxied) -> None:
    proxied.run(case)
